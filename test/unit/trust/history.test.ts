/** What the server gains by saying that somebody left, and showing him again: nothing is taken twice. */
import { expect, test } from 'vitest';
import { createHistories } from '../../../src/trust/history.ts';
import { introduce, openParty } from '../../harness/circle.ts';

const NEVER = Number.POSITIVE_INFINITY;

test('a message is refused a second time though its sender left and came back in between', async () => {
  await using anna = await openParty('anna');
  await using ben = await openParty('ben');
  await introduce(anna, ben);
  const hello = anna.says();
  ben.hears(anna, hello);
  const { signed } = await anna.circle.seal(ben.jid, 'x', 'pay');
  await ben.circle.open(anna.jid, signed);
  ben.circle.leave(anna.jid);
  await expect(ben.circle.open(anna.jid, signed)).rejects.toMatchObject({ code: 'trust.unknown-peer' });
  ben.hears(anna, hello);
  await expect(ben.circle.open(anna.jid, signed)).rejects.toMatchObject({
    message: expect.stringContaining('it came before') as string,
  });
});

test('a message to the process before this one is refused by the next, and so is one of the process before', async () => {
  await using anna = await openParty('anna');
  await using ben = await openParty('ben');
  await introduce(anna, ben);
  const { signed } = await anna.circle.seal(ben.jid, 'x', 'pay');
  const second = await ben.again({ jid: ben.jid });
  second.hears(anna);
  await expect(second.circle.open(anna.jid, signed)).rejects.toMatchObject({
    message: expect.stringContaining('an earlier life of ours') as string,
  });
  ben.circle.leave(anna.jid);
  const restarted = await anna.again({ jid: anna.jid });
  ben.hears(restarted);
  await expect(ben.circle.open(anna.jid, signed)).rejects.toMatchObject({
    message: expect.stringContaining('an earlier life of its sender') as string,
  });
  for (const one of [second, restarted]) await one.contacts.saved();
});

test('counters and sessions outlive a leave', () => {
  const histories = createHistories(() => false);
  const history = histories.open('anna@host.test/a', 'key');
  history.said('one', 1, NEVER);
  history.window('one').take(7);
  history.left();
  const again = histories.open('anna@host.test/a', 'key');
  again.said('one', 2, NEVER);
  expect(again.window('one').fresh(7)).toBe(false);
  expect(histories.find('anna@host.test/a', 'other key')).toBeUndefined();
});

test('a session that another one followed is over, with its counters', () => {
  const history = createHistories(() => false).open('anna@host.test/a', 'key');
  for (const [at, session] of ['one', 'two', 'three'].entries()) {
    history.said(session, at, 1000 + at);
    history.window(session).take(1);
    history.took(100 * (at + 1));
  }
  expect(['one', 'two', 'three'].map((session) => history.isOver(session))).toEqual([true, true, false]);
  expect(history.sessions).toEqual([
    { session: 'two', until: 1002 },
    { session: 'three', until: NEVER },
  ]);
  // Of the one whose counters were thrown away nothing of that time is taken any more.
  expect(history.window('one').floor).toBe(200);
});

test('a process that left and came back as another one has nothing under way', () => {
  const history = createHistories(() => false).open('anna@host.test/a', 'key');
  history.said('one', 1, NEVER);
  history.left();
  history.said('two', 1, NEVER);
  expect(history.sessions).toEqual([{ session: 'two', until: NEVER }]);
});

test('who is made to be forgotten by a thousand others is not taken at his old word', () => {
  const histories = createHistories((jid) => jid.startsWith('here'));
  const here = histories.open('here@host.test/a', 'key');
  const anna = histories.open('anna@host.test/a', 'key');
  anna.said('one', 1, NEVER);
  anna.window('one').take(1);
  anna.took(5000);
  for (let at = 0; at < 1000; at++) histories.open(`x${at}@host.test/a`, 'key').said('s', 1, NEVER);
  expect(histories.find('here@host.test/a', 'key')).toBe(here);
  expect(histories.find('anna@host.test/a', 'key')).toBeUndefined();
  const again = histories.open('anna@host.test/a', 'key');
  again.said('one', 1, NEVER);
  expect(again.window('one').floor).toBe(5000);
});

test('windows of sessions that nobody said are kept nowhere', () => {
  const history = createHistories(() => false).open('anna@host.test/a', 'key');
  history.said('one', 1, NEVER);
  history.window('made up').take(1);
  expect(history.window('made up').fresh(1)).toBe(true);
});
