/** One guest's side of a LAN: what the initiator is told of it. */
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { openHosting } from '../../../src/job/hosting.ts';
import { parseRequest } from '../../../src/protocol/messages.ts';
import { jidOf, planOf } from '../../harness/fabric.ts';
import { trustingNotary } from '../../harness/notary.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

test('a report says of each link which wire it has, and why no better one', async () => {
  const clock = virtualClock();
  let told = 0;
  await using hosting = openHosting(planOf('star', [1, 2, 3]), {
    self: jidOf(1),
    clock,
    log: silentLog,
    notary: trustingNotary,
    onChange: () => told++,
    boot: ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    openWire: ({ rung }) => Promise.reject(new Error(`${rung} is broken ${'very '.repeat(100)}`)),
  });
  await turn();
  const report = await hosting.report();
  expect(report).toMatchObject({ state: 'fetching', drops: {} });
  expect(report.links.map(({ from, to, wire }) => [from, to, wire])).toEqual([
    [1, 2, 'down'],
    [1, 3, 'down'],
  ]);
  expect(report.links[0]!.reasons.direct).toMatch(/^direct is broken very/);
  // It has to pass the schema at the other end.
  const message = { kind: 'guest.report', job: 'j', lease: 'l', report };
  expect(parseRequest(JSON.parse(JSON.stringify(message)))).toEqual(message);
  expect(told).toBe(0);
});

test('the report of a hub of two hundred links of which none works is one message', async () => {
  const nodes = Array.from({ length: 199 }, (_, i) => i + 1);
  await using hosting = openHosting(planOf('star', nodes), {
    self: jidOf(1),
    clock: virtualClock(),
    log: silentLog,
    notary: trustingNotary,
    onChange: () => {},
    boot: ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    openWire: ({ rung }) => Promise.reject(new Error(`${rung} is broken ${'very '.repeat(100)}`)),
  });
  await turn();
  const { links } = await hosting.report();
  expect(links).toHaveLength(198);
  expect(JSON.stringify(links).length).toBeLessThan(60_000);
});
