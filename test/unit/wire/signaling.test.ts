/** The signal router: early, late, stale and hostile signals each end where they belong. */
import { beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { createSignalRouter, type Signal, type SignalPipe, type SignalRouter } from '../../../src/wire/signaling.ts';

const offer = (n: number) => ({ type: 'offer', sdp: `v=${n}` });
const answer = (n: number) => ({ type: 'answer', sdp: `v=${n}` });
const candidates = (port: number) => ({
  candidates: [{ candidate: `candidate:1 1 UDP 1 127.0.0.1 ${port} typ host` }],
});

let sent: { to: string; signal: Signal }[];
let router: SignalRouter;

beforeEach(() => {
  sent = [];
  router = createSignalRouter({ send: async (to, signal) => void sent.push({ to, signal }), log: silentLog });
});

function heard(pipe: SignalPipe): unknown[] {
  const list: unknown[] = [];
  pipe.onData((data) => list.push(data));
  return list;
}

function supersededBy(pipe: SignalPipe): { count: number } {
  const state = { count: 0 };
  pipe.onSuperseded!(() => state.count++);
  return state;
}

describe('the offering end', () => {
  test('sends each attempt under a session of its own, and hears only that', async () => {
    const first = router.pipe({ peer: 'b', channel: 'x', offer: true });
    await first.send(offer(1));
    first[Symbol.dispose]();
    const second = router.pipe({ peer: 'b', channel: 'x', offer: true });
    await second.send(offer(2));
    const [one, two] = sent.map(({ signal }) => signal.session);
    expect(one).not.toBe(two);
    const list = heard(second);
    router.dispatch('b', 'x', one!, answer(1));
    router.dispatch('b', 'x', two!, answer(2));
    expect(list).toEqual([answer(2)]);
  });

  test('does not hear another peer, nor another channel', async () => {
    const pipe = router.pipe({ peer: 'b', channel: 'x', offer: true });
    const list = heard(pipe);
    await pipe.send(offer(1));
    const { session } = sent[0]!.signal;
    router.dispatch('c', 'x', session, answer(1));
    router.dispatch('b', 'y', session, answer(1));
    expect(list).toEqual([]);
  });

  test('is not moved by offers', () => {
    const pipe = router.pipe({ peer: 'b', channel: 'x', offer: true });
    const superseded = supersededBy(pipe);
    router.dispatch('b', 'x', 'other', offer(1));
    expect(superseded.count).toBe(0);
  });
});

describe('the answering end', () => {
  test('hears what came before it listened, of the newest session only, and answers in it', async () => {
    router.dispatch('a', 'x', 's1', offer(1));
    router.dispatch('a', 'x', 's1', candidates(1));
    router.dispatch('a', 'x', 's2', offer(2));
    router.dispatch('a', 'x', 's2', candidates(2));
    const pipe = router.pipe({ peer: 'a', channel: 'x', offer: false });
    expect(heard(pipe)).toEqual([offer(2), candidates(2)]);
    await pipe.send(answer(2));
    expect(sent).toEqual([{ to: 'a', signal: { channel: 'x', session: 's2', data: answer(2) } }]);
  });

  test('adopts the session of the first offer while it waits', () => {
    const pipe = router.pipe({ peer: 'a', channel: 'x', offer: false });
    const list = heard(pipe);
    router.dispatch('a', 'x', 's1', candidates(1));
    router.dispatch('a', 'x', 's1', offer(1));
    router.dispatch('a', 'x', 's1', candidates(2));
    expect(list).toEqual([candidates(1), offer(1), candidates(2)]);
  });

  test('is told when a newer attempt began, and the next pipe gets it', () => {
    router.dispatch('a', 'x', 's1', offer(1));
    const old = router.pipe({ peer: 'a', channel: 'x', offer: false });
    const superseded = supersededBy(old);
    const list = heard(old);
    router.dispatch('a', 'x', 's2', offer(2));
    router.dispatch('a', 'x', 's2', candidates(2));
    expect(superseded.count).toBe(1);
    expect(list).toEqual([offer(1)]);
    old[Symbol.dispose]();
    expect(heard(router.pipe({ peer: 'a', channel: 'x', offer: false }))).toEqual([offer(2), candidates(2)]);
  });

  test('late signals of a session that it has answered wake nobody', () => {
    router.dispatch('a', 'x', 's1', offer(1));
    router.pipe({ peer: 'a', channel: 'x', offer: false })[Symbol.dispose]();
    router.dispatch('a', 'x', 's1', offer(1));
    router.dispatch('a', 'x', 's1', candidates(1));
    expect(heard(router.pipe({ peer: 'a', channel: 'x', offer: false }))).toEqual([]);
  });

  test('sends nothing before there is a session', async () => {
    await router.pipe({ peer: 'a', channel: 'x', offer: false }).send(answer(1));
    expect(sent).toEqual([]);
  });
});

test('a second pipe for the same path ends the first, whose disposal leaves the second alone', () => {
  const first = router.pipe({ peer: 'a', channel: 'x', offer: false });
  const superseded = supersededBy(first);
  const second = router.pipe({ peer: 'a', channel: 'x', offer: false });
  expect(superseded.count).toBe(1);
  first[Symbol.dispose]();
  const list = heard(second);
  router.dispatch('a', 'x', 's1', offer(1));
  expect(list).toEqual([offer(1)]);
});

describe('a hostile peer', () => {
  test('gets nothing through that is no signal', () => {
    const pipe = router.pipe({ peer: 'a', channel: 'x', offer: false });
    const list = heard(pipe);
    router.dispatch('a', 'x', 's1', { type: 'offer', sdp: 7 });
    router.dispatch('a', 'x', 's'.repeat(65), offer(1));
    router.dispatch('a', 'x'.repeat(161), 's1', offer(1));
    expect(list).toEqual([]);
  });

  test('fills no memory with signals of one attempt', () => {
    router.dispatch('a', 'x', 's1', offer(1));
    for (let i = 1; i < 1000; i++) router.dispatch('a', 'x', 's1', candidates(i));
    for (let i = 0; i < 1000; i++) router.dispatch('a', 'x', 's1', offer(i));
    const list = heard(router.pipe({ peer: 'a', channel: 'x', offer: false }));
    expect(list.length).toBeLessThanOrEqual(8);
    expect(list).toContainEqual(offer(999));
  });

  test('fills no memory with channels, and pushes nobody else out', () => {
    router.dispatch('good', 'x', 's1', offer(1));
    for (let i = 0; i < 1000; i++) router.dispatch('evil', `channel ${i}`, 's1', offer(i));
    expect(heard(router.pipe({ peer: 'good', channel: 'x', offer: false }))).toEqual([offer(1)]);
    expect(heard(router.pipe({ peer: 'evil', channel: 'channel 0', offer: false }))).toEqual([]);
    expect(heard(router.pipe({ peer: 'evil', channel: 'channel 999', offer: false }))).toEqual([offer(999)]);
  });

  test('nor with names of peers; a peer with an open pipe is never forgotten', () => {
    const pipe = router.pipe({ peer: 'good', channel: 'x', offer: false });
    const list = heard(pipe);
    router.dispatch('first', 'x', 's1', offer(1));
    for (let i = 0; i < 1000; i++) router.dispatch(`evil ${i}`, 'x', 's1', offer(i));
    router.dispatch('good', 'x', 's1', offer(1));
    expect(list).toEqual([offer(1)]);
    expect(heard(router.pipe({ peer: 'first', channel: 'x', offer: false }))).toEqual([]);
  });
});
