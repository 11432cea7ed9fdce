/** When neighbours say that a peer is gone: it is asked once, and lost only when nobody hears it and it does not answer. */
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { KithError } from '../../../src/base/errors.ts';
import type { Ask } from '../../../src/job/guest-client.ts';
import type { Place } from '../../../src/job/membership.ts';
import { createSuspicion } from '../../../src/job/suspicion.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const report = (self: number, links: Readonly<Record<number, string>>): Place['report'] => ({
  state: 'up',
  links: Object.entries(links).map(([to, wire]) => ({
    from: self,
    to: Number(to),
    wire: wire as 'down',
    reasons: {},
    loss: 0,
    sentBytes: 0,
    receivedBytes: 0,
    sentPerSecond: 0,
    receivedPerSecond: 0,
    drops: 0,
    seconds: 1,
  })),
});

/** A star of four around node 2; the initiator has node 1. */
function star(answers: () => Promise<unknown>) {
  const clock = virtualClock();
  const places: Place[] = [1, 2, 3, 4].map((node) => ({
    peer: `p${node}`,
    nick: `p${node}`,
    node,
    lease: `l${node}`,
    report: undefined,
    revision: 1,
  }));
  const asked: string[] = [];
  const lost: string[] = [];
  const suspicion = createSuspicion({
    ask: (async (to: string) => {
      asked.push(to);
      return answers();
    }) as unknown as Ask,
    places: () => places,
    lose: ({ peer }) => lost.push(peer),
    clock,
    signal: new AbortController().signal,
  });
  const says = async (node: number, wire: string) => {
    const place = places.find((each) => each.node === node)!;
    place.report = report(node, { 2: wire });
    suspicion.heard(place);
    await turn();
  };
  return { clock, asked, lost, says, places };
}

const silence = () => Promise.reject(new KithError({ code: 'xmpp.timeout', message: 'no answer' }));
const all = [1, 3, 4];

test('a hub of which all say that it is gone, and that does not answer, is lost', async () => {
  const { says, asked, lost } = star(silence);
  for (const node of all) await says(node, 'direct');
  for (const node of [1, 3]) await says(node, 'down');
  expect(asked).toEqual([]);
  await says(4, 'down');
  expect([asked, lost]).toEqual([['p2'], ['p2']]);
});

test('it is asked as soon as all fall back on the server, so that there is less to wait for when nobody is there either', async () => {
  const { says, asked, lost } = star(silence);
  for (const node of all) await says(node, 'direct');
  for (const node of all) await says(node, 'stanza');
  expect([asked, lost]).toEqual([['p2'], []]);
  for (const node of all) await says(node, 'down');
  expect([asked, lost.at(-1)]).toEqual([['p2'], 'p2']);
});

test('links that were through the server from the start are no reason to ask', async () => {
  const { says, asked } = star(silence);
  for (const node of all) await says(node, 'stanza');
  expect(asked).toEqual([]);
});

test('one that answers is not lost, and not asked again for a while', async () => {
  const { clock, says, asked, lost } = star(async () => ({}));
  for (const node of all) await says(node, 'direct');
  for (const node of [...all, ...all]) await says(node, 'down');
  expect([asked, lost]).toEqual([['p2'], []]);
  clock.advance(10_000);
  await says(3, 'down');
  expect(asked).toEqual(['p2', 'p2']);
});

test('links that have never been up say nothing', async () => {
  const { says, asked } = star(silence);
  for (const node of all) await says(node, 'down');
  expect(asked).toEqual([]);
});

test('our own word alone is not enough: it may be we who are cut off', async () => {
  const { clock, says, asked } = star(silence);
  for (const node of all) await says(node, 'direct');
  for (const node of [3, 4]) await says(node, 'down');
  clock.advance(15_000);
  await says(1, 'down');
  expect(asked).toEqual([]);
});

test('a link that is up again while we wait for the answer acquits', async () => {
  const answer = Promise.withResolvers<unknown>();
  const { says, asked, lost } = star(() => answer.promise);
  for (const node of all) await says(node, 'direct');
  for (const node of all) await says(node, 'down');
  expect(asked).toEqual(['p2']);
  await says(3, 'stanza');
  answer.reject(new KithError({ code: 'xmpp.timeout', message: 'no answer' }));
  await turn();
  expect(lost).toEqual([]);
});

test('an error of our own line is no silence', async () => {
  const { says, lost } = star(() => Promise.reject(new KithError({ code: 'xmpp.session-closed', message: 'over' })));
  for (const node of all) await says(node, 'direct');
  for (const node of all) await says(node, 'down');
  expect(lost).toEqual([]);
});
