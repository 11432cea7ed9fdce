/** What a session promises over its cuts: once, in order, and nothing stale. */
import { xml } from '@xmpp/client';
import { expect, test, vi } from 'vitest';
import { openSession } from '../../../src/xmpp/session.ts';
import { admit, FAKE_PASSWORD, startFakeServer } from '../../harness/fake-server.ts';
import { codeOf, soon } from '../../harness/xmpp.ts';

const open = (fake: Awaited<ReturnType<typeof startFakeServer>>) =>
  openSession({
    host: '127.0.0.1',
    port: fake.port,
    domain: fake.domain,
    fingerprint: fake.fingerprint,
    username: 'me',
    password: FAKE_PASSWORD,
    bytesPerSecond: 1e6,
    random: () => 0,
  });

test('a message that the server brings twice is handed out once; without an id nobody can tell', async () => {
  const twice = (attributes: string) => `<message from='a@b/c' ${attributes}/>`.repeat(2);
  await using fake = await startFakeServer(async (connection) => {
    await admit(connection);
    await connection.expect(/<presence/);
    connection.send(`${twice("id='1'")}${twice("id='2' type='error'")}${twice('')}<message from='d@e/f' id='1'/>`);
  });
  await using session = await open(fake);
  const got: string[] = [];
  session.onStanza((stanza) => void got.push(`${String(stanza.attrs['from'])} ${String(stanza.attrs['id'])}`));
  await vi.waitFor(() => expect(got).toContain('d@e/f 1'), soon);
  expect(got.slice(0, -1).toSorted()).toEqual(['a@b/c 1', 'a@b/c 2', 'a@b/c 2', 'a@b/c undefined', 'a@b/c undefined']);
  expect(session.counters().repeats).toBe(1);
});

test('a fresh session sends what was not confirmed again, but no presence, no room talk and no frames', async () => {
  await using fake = await startFakeServer((connection) => admit(connection));
  await using session = await open(fake);
  let fresh = 0;
  session.onFresh(() => fresh++);
  const control = { priority: 'control' } as const;
  session.send(xml('message', { to: 'you@b/c', id: 'sent' }), control);
  await vi.waitFor(() => expect(fake.connections[0]?.received).toContain('sent'), soon);
  fake.connections[0]?.end();
  await vi.waitFor(() => expect(session.state).toBe('reconnecting'), soon);
  expect(session.send(xml('presence', { to: 'room@b/stale' }), control)).toBe(true);
  expect(session.send(xml('message', { to: 'room@b', type: 'groupchat', id: 'talk' }), control)).toBe(true);
  expect(session.send(xml('message', { to: 'you@b/c', id: 'queued' }), control)).toBe(true);
  expect(session.send(xml('message', { to: 'you@b/c', id: 'frames' }), { priority: 'frames' })).toBe(false);
  await vi.waitFor(() => expect(fake.connections[1]?.received).toContain('queued'), soon);
  await vi.waitFor(() => expect(fake.connections[1]?.received).toContain('<enable '), soon);
  const text = fake.connections[1]?.received ?? '';
  expect(text.indexOf('sent')).toBeGreaterThan(text.indexOf('<enable '));
  expect(text.indexOf('queued')).toBeGreaterThan(text.indexOf('sent'));
  for (const stale of ['stale', 'talk', 'frames']) expect(text).not.toContain(stale);
  expect([fresh, session.counters().frameDrops]).toEqual([1, 1]);
});

test('disposal says goodbye, ends open requests, and refuses what comes later', async () => {
  await using fake = await startFakeServer((connection) => admit(connection));
  const session = await open(fake);
  const asked = codeOf(session.request('you@b/c', 'get', xml('x', { xmlns: 'y' })));
  await session[Symbol.asyncDispose]();
  await session[Symbol.asyncDispose]();
  expect(await session.closed).toBeUndefined();
  expect(await asked).toBe('xmpp.session-closed');
  expect(session.send(xml('message', { to: 'you@b/c' }), { priority: 'control' })).toBe(false);
  expect(await codeOf(session.request('you@b/c', 'get', xml('x', { xmlns: 'y' })))).toBe('xmpp.session-closed');
  expect(fake.connections[0]?.received).toMatch(/<a xmlns="urn:xmpp:sm:3" h="0"\/><\/stream:stream>$/);
  expect(fake.connections).toHaveLength(1);
});

test('a stanza that no server would take is refused, and too much control as well', async () => {
  await using fake = await startFakeServer((connection) => admit(connection)); // never confirms anything
  await using session = await open(fake);
  const message = (bytes: number) => xml('message', { to: 'you@b/c' }, xml('body', {}, 'x'.repeat(bytes)));
  expect(session.send(message(200_000), { priority: 'control' })).toBe(false);
  let taken = 0;
  while (taken < 100 && session.send(message(50_000), { priority: 'control' })) taken++;
  expect(taken).toBeGreaterThan(20);
  expect(taken).toBeLessThan(50);
});
