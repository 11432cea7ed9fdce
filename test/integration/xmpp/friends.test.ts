/** Contact lists at a real server: both sides get the other, and only whom they welcome. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { xml } from '@xmpp/client';
import { openFriends } from '../../../src/xmpp/friends.ts';
import type { Session } from '../../../src/xmpp/session.ts';
import { startTestServer, type TestServer } from '../../harness/prosody.ts';
import { settle } from '../../harness/xmpp.ts';

let prosody: TestServer;
beforeAll(async () => {
  prosody = await startTestServer();
});
afterAll(() => prosody[Symbol.asyncDispose]());

const { signal } = new AbortController();
const SOON = { timeoutMs: 60_000, signal };

async function listOf(session: Session): Promise<unknown[]> {
  const answer = await session.request(undefined, 'get', xml('query', { xmlns: 'jabber:iq:roster' }));
  const items = answer.getChild('query', 'jabber:iq:roster')?.getChildren('item') ?? [];
  return items.map(({ attrs }) => [attrs['jid'], attrs['subscription']]);
}

test('who is welcome is asked in turn: both lists have both; a second time nothing is asked', async () => {
  await using anna = await prosody.open('anna');
  await using ben = await prosody.open('ben');
  using _host = await openFriends({ session: anna, welcome: (account) => account.startsWith('ben@'), signal });
  using friends = await openFriends({ session: ben, welcome: (account) => account.startsWith('anna@'), signal });
  expect(await friends.befriend('anna@kith.internal', SOON)).toBe(true);
  await settle(anna, ben);
  expect(await listOf(ben)).toEqual([['anna@kith.internal', 'both']]);
  expect(await listOf(anna)).toEqual([['ben@kith.internal', 'both']]);
  using again = await openFriends({ session: ben, welcome: () => false, signal });
  expect(await again.befriend('anna@kith.internal', { timeoutMs: 0, signal })).toBe(true);
});

test('who is not welcome gets no answer, and a push that a stranger sends is nobody’s word', async () => {
  await using cleo = await prosody.open('cleo');
  await using dora = await prosody.open('dora');
  using _host = await openFriends({ session: cleo, welcome: () => false, signal });
  using friends = await openFriends({ session: dora, welcome: () => true, signal });
  const item = xml('item', { jid: 'cleo@kith.internal', subscription: 'both' });
  const forged = cleo.request(dora.jid, 'set', xml('query', { xmlns: 'jabber:iq:roster' }, item));
  await expect(forged).rejects.toThrow('refused');
  expect(await friends.befriend('cleo@kith.internal', { timeoutMs: 500, signal })).toBe(false);
  expect(await listOf(cleo)).toEqual([]);
});
