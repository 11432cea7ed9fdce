/** A link: best rung first, another wire when one dies, and an end that leaves nothing open. */
import { expect, test } from 'vitest';
import { KithError } from '../../../src/base/errors.ts';
import { silentLog } from '../../../src/base/log.ts';
import type { Wire } from '../../../src/net/wire.ts';
import { keepLink, type LinkOptions, type LinkRung, type LinkState } from '../../../src/wire/link.ts';
import { memoryPair } from '../../../src/wire/memory.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const refused = async (): Promise<Wire> => {
  throw new KithError({ code: 'wire.dial-timeout', message: 'no way' });
};

function fixture(open: Partial<LinkOptions['open']>, rungs: LinkRung[] = ['webrtc', 'stanza'], signal?: AbortSignal) {
  const clock = virtualClock();
  const states: LinkState[] = [];
  const attached = new Set<Wire>();
  const wires: [Wire, Wire][] = [];
  const tried: LinkRung[] = [];
  const give = async () => {
    const pair = memoryPair({ onBatch: [() => {}, () => {}] });
    wires.push(pair);
    return pair[0];
  };
  const attempt = (rung: LinkRung) => (stop: AbortSignal) => {
    tried.push(rung);
    return (open[rung] ?? give)(stop);
  };
  const link = keepLink({
    rungs,
    open: { webrtc: attempt('webrtc'), stanza: attempt('stanza') },
    attach: (wire) => {
      attached.add(wire);
      return () => void attached.delete(wire);
    },
    clock,
    log: silentLog,
    onState: (state) => states.push(state),
    random: () => 0.5,
    ...(signal ? { signal } : {}),
  });
  return { clock, states, attached, wires, tried, link };
}

test('the best rung is tried first and attached', async () => {
  const { states, attached, tried, link } = fixture({});
  await turn();
  expect([tried, states, attached.size]).toEqual([['webrtc'], [{ wire: 'webrtc' }], 1]);
  await link[Symbol.asyncDispose]();
});

test('the next rung is taken when the best does not open', async () => {
  const { states, tried, link } = fixture({ webrtc: refused });
  await turn();
  expect([tried, states]).toEqual([['webrtc', 'stanza'], [{ wire: 'stanza' }]]);
  await link[Symbol.asyncDispose]();
});

test('a dead wire is detached, and replaced after a pause', async () => {
  const { clock, states, attached, wires, link } = fixture({});
  await turn();
  await wires[0]![1][Symbol.asyncDispose]();
  await turn();
  expect(attached.size).toBe(0);
  expect(states.at(-1)).toEqual({ wire: 'down', reason: 'closed by the peer' });
  clock.advance(199);
  await turn();
  expect(wires).toHaveLength(1);
  clock.advance(1);
  await turn();
  expect(wires).toHaveLength(2);
  expect([...attached]).toEqual([wires[1]![0]]);
  await link[Symbol.asyncDispose]();
});

test('pauses double up to ten seconds while nothing opens, and every reason is told', async () => {
  const { clock, states, tried, link } = fixture({ webrtc: refused, stanza: refused });
  await turn();
  expect(states).toEqual([{ wire: 'down', reason: 'webrtc: no way; stanza: no way' }]);
  for (const [i, ms] of [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000].entries()) {
    clock.advance(ms - 1);
    await turn();
    expect(tried).toHaveLength(2 * (i + 1));
    clock.advance(1);
    await turn();
    expect(tried).toHaveLength(2 * (i + 2));
  }
  await link[Symbol.asyncDispose]();
});

test('a wire that lived ten seconds makes the next attempt quick again', async () => {
  const pairs: [Wire, Wire][] = [];
  let works = false;
  const { clock, states, link } = fixture(
    {
      stanza: async () => {
        if (!works) return refused();
        pairs.push(memoryPair({ onBatch: [() => {}, () => {}] }));
        return pairs.at(-1)![0];
      },
    },
    ['stanza'],
  );
  for (let i = 0; i < 8; i++) {
    await turn();
    clock.advance(10_000);
  }
  works = true;
  await turn();
  clock.advance(10_000);
  await turn();
  expect(pairs).toHaveLength(1);
  clock.advance(10_000);
  await pairs[0]![1][Symbol.asyncDispose]();
  await turn();
  expect(states.at(-1)).toMatchObject({ wire: 'down' });
  clock.advance(200);
  await turn();
  expect(states.at(-1)).toEqual({ wire: 'stanza' });
  await link[Symbol.asyncDispose]();
});

test('disposing closes the wire, detaches it and says so', async () => {
  const { states, attached, wires, link } = fixture({});
  await turn();
  await link[Symbol.asyncDispose]();
  expect(await wires[0]![0].closed).toBe('closed by us');
  expect(attached.size).toBe(0);
  expect(states.at(-1)).toEqual({ wire: 'down', reason: 'closed by us' });
});

test('an abort in the middle of an attempt ends it, and tries nothing else', async () => {
  const controller = new AbortController();
  const { tried, states, link } = fixture(
    {
      webrtc: (signal) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
    },
    ['webrtc', 'stanza'],
    controller.signal,
  );
  await turn();
  controller.abort();
  await link[Symbol.asyncDispose]();
  expect(tried).toEqual(['webrtc']);
  expect(states).toEqual([{ wire: 'down', reason: 'closed by us' }]);
});

test('a wire that opens just when we stop is closed, not attached', async () => {
  const opened = Promise.withResolvers<Wire>();
  const { attached, states, link } = fixture({ webrtc: () => opened.promise });
  await turn();
  const [wire] = memoryPair({ onBatch: [() => {}, () => {}] });
  const done = link[Symbol.asyncDispose]();
  opened.resolve(wire);
  await done;
  expect(await wire.closed).toBe('closed by us');
  expect(attached.size).toBe(0);
  expect(states).toEqual([{ wire: 'down', reason: 'closed by us' }]);
});

test('a wire that throws while it opens is only a reason', async () => {
  const { states, link } = fixture({
    webrtc: () => {
      throw new TypeError('broken');
    },
  });
  await turn();
  expect(states).toEqual([{ wire: 'stanza' }]);
  await link[Symbol.asyncDispose]();
});
