/** One guest's side of a LAN, with wires in memory and time that stands still. */
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { checkJob } from '../../../src/job/define.ts';
import { openHosting, type HostingDeps } from '../../../src/job/hosting.ts';
import { makePlan } from '../../../src/job/plan.ts';
import type { BatchHandler, Wire } from '../../../src/net/wire.ts';
import { memoryPair } from '../../../src/wire/memory.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const PLAN = makePlan({
  job: checkJob({ name: 'test', topology: 'star' }),
  id: '00000000-0000-4000-8000-000000000000',
  revision: 1,
  initiator: 'boss@x/1',
  members: [
    { peer: 'boss@x/1', node: 1 },
    { peer: 'anna@x/1', node: 2 },
  ],
  images: { micro: { name: 'micro', hash: 'a'.repeat(64), bytes: 1000 } },
  wires: ['stanza'],
  masterKey: `ssh-ed25519 ${'A'.repeat(68)}`,
});

test('measures the round trip of a link whose far end attached it a moment later', async () => {
  const clock = virtualClock();
  const handlers: BatchHandler[] = [];
  const ends = memoryPair({ onBatch: [(batch) => handlers[0]?.(batch), (batch) => handlers[1]?.(batch)] });
  const far = Promise.withResolvers<Wire>();
  const at = (self: string, side: 0 | 1, wire: Promise<Wire>) =>
    openHosting(PLAN, {
      self,
      clock,
      log: silentLog,
      onChange: () => {},
      boot: ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
      openWire: ({ onBatch }) => {
        handlers[side] = onBatch;
        return wire;
      },
    } satisfies HostingDeps);
  await using boss = at('boss@x/1', 0, Promise.resolve(ends[0]));
  await using _anna = at('anna@x/1', 1, far.promise);
  await turn();
  clock.advance(500);
  far.resolve(ends[1]);
  await turn();
  clock.advance(500);
  await turn();
  const [link] = (await boss.report()).links;
  expect(link).toMatchObject({ from: 1, to: 2, wire: 'stanza' });
});
