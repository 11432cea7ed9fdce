/** Several real data channels as one wire. */
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLog } from '../../../src/base/log.ts';
import { encodeBatch, FRAMES } from '../../../src/net/batch.ts';
import { openBundle } from '../../../src/wire/bundle.ts';
import { openWebrtc } from '../../../src/wire/webrtc.ts';
import { frame, macOf, runOfFrames } from '../../harness/frames.ts';
import { signalPair } from '../../harness/signals.ts';

const FLOWS = 8;

test('a full data channel gets a second one, each flow stays in order, and one end closes all', async () => {
  const signals = signalPair();
  const opened = { a: 0, b: 0 };
  const last = new Map<number, number>();
  let disorder = 0;
  const take = (batch: Uint8Array) => {
    const [flow, sequence] = [batch[11]!, Buffer.from(batch).readUInt32BE(12)];
    if (sequence <= (last.get(flow) ?? -1)) disorder++;
    last.set(flow, sequence);
  };
  const bundle = (side: 'a' | 'b') => {
    const offer = side === 'a';
    return openBundle({
      offer,
      onBatch: offer ? () => {} : take,
      clock: systemClock,
      log: silentLog,
      signal: new AbortController().signal,
      hasSpareCpu: () => true,
      open: async (number, signal, onBatch) => {
        const pipe = signals[side].pipe({ peer: offer ? 'b' : 'a', channel: `x:${number}`, offer });
        const wire = await openWebrtc({ bindAddress: '127.0.0.1', log: silentLog, offer, pipe, signal, onBatch });
        opened[side]++;
        return wire;
      },
    });
  };
  const [a, b] = await Promise.all([bundle('a'), bundle('b')]);
  const run = (flow: number) => runOfFrames(frame({ to: macOf(2), from: macOf(flow + 10), length: 60_000 }));
  const runs = Array.from({ length: FLOWS }, (_, flow) => run(flow));
  const header = { type: FRAMES, ttl: 1, source: 1, destination: 2, lan: 1, epoch: 0 } as const;
  for (let sequence = 0; opened.a < 2 || opened.b < 2; sequence++) {
    const flow = sequence % FLOWS;
    a.send(encodeBatch({ ...header, life: flow, sequence }, runs[flow]));
    if (flow === 0) await turn();
  }
  expect([disorder, last.size]).toEqual([0, FLOWS]);
  await a[Symbol.asyncDispose]();
  expect(await b.closed).toBe('closed by the peer');
  expect(b.send(new Uint8Array(16))).toBe(false);
});
