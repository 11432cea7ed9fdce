/**
 * What the box costs: the same guest booted in it and without it, in turns, and the median of the ratios of neighbours.
 *
 *   node test/bench/confinement.ts [rounds, default 7]
 */
import { loadavg } from 'node:os';
import type { HostFacts } from '../../src/guest/probe.ts';
import { microImage, openTestLan } from '../harness/guest.ts';

const rounds = Number(process.argv[2] ?? 7);
const { host } = await microImage();

async function boot(confinement: HostFacts['confinement']): Promise<{ seconds: number; mebibytes: number }> {
  await using lan = await openTestLan(1);
  const guest = await lan.boot(0, { host: { ...host, confinement } });
  return { seconds: guest.bootSeconds, mebibytes: (await guest.residentMiB()) ?? Number.NaN };
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

process.stdout.write(`held by ${host.confinement.join(', ')}; load ${loadavg()[0]?.toFixed(2)}\n`);
await boot([]); // files into the cache, whoever comes first
const measured = [];
for (let round = 0; round < rounds; round++) {
  // Who goes first changes with each round: a host that warms up or tires favours neither.
  const order = round % 2 === 0 ? [host.confinement, []] : [[], host.confinement];
  const results = [await boot(order[0] ?? []), await boot(order[1] ?? [])];
  const [boxed, free] = round % 2 === 0 ? results : results.toReversed();
  if (!boxed || !free) continue;
  measured.push({ boxed, free });
  process.stderr.write(`round ${round + 1}: ${boxed.seconds.toFixed(2)} s boxed, ${free.seconds.toFixed(2)} s free\n`);
}

process.stdout.write(
  [
    `rounds                   ${rounds}`,
    `boot in the box, s       ${median(measured.map(({ boxed }) => boxed.seconds)).toFixed(2)}`,
    `boot without it, s       ${median(measured.map(({ free }) => free.seconds)).toFixed(2)}`,
    `ratio, median of rounds  ${median(measured.map(({ boxed, free }) => boxed.seconds / free.seconds)).toFixed(3)}   (goal: at most 1.1)`,
    `memory in the box, MiB   ${median(measured.map(({ boxed }) => boxed.mebibytes)).toFixed(0)}`,
    `memory without it, MiB   ${median(measured.map(({ free }) => free.mebibytes)).toFixed(0)}`,
    '',
  ].join('\n'),
);
