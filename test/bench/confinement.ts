/**
 * What the box costs: the same guest booted in it and without it, in turns, and the median of the ratios of neighbours. Both
 * run at idle priority where they can: how far a busy host holds back such a guest is not the box's doing. Processor time says
 * the same on a busy host, where seconds say little.
 *
 *   node test/bench/confinement.ts [rounds, default 7]
 */
import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import type { HostFacts } from '../../src/guest/probe.ts';
import { microImage, openTestLan } from '../harness/guest.ts';

interface Boot {
  readonly seconds: number;
  /** Of processor time, all threads of QEMU. */
  readonly work: number;
  readonly mebibytes: number;
}

const rounds = Number(process.argv[2] ?? 7);
const { host } = await microImage();
const without = host.confinement.filter((kind) => kind === 'idle');

async function boot(confinement: HostFacts['confinement']): Promise<Boot> {
  await using lan = await openTestLan(1);
  const guest = await lan.boot(0, { host: { ...host, confinement } });
  // Fields 14 and 15 of proc_pid_stat(5), in hundredths of a second; the name before them may hold blanks.
  const stat = readFileSync(`/proc/${guest.pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return {
    seconds: guest.bootSeconds,
    work: (Number(fields[11]) + Number(fields[12])) / 100,
    mebibytes: (await guest.residentMiB()) ?? Number.NaN,
  };
}

const load = (): string => loadavg()[0]?.toFixed(2) ?? '';
process.stdout.write(`held by ${host.confinement.join(', ')}; load ${load()}\n`);
await boot(without); // files into the cache, whoever comes first
const measured: { readonly boxed: Boot; readonly free: Boot }[] = [];
for (let round = 0; round < rounds; round++) {
  // Who goes first changes with each round: a host that warms up or tires favours neither.
  const boxedFirst = round % 2 === 0;
  const first = await boot(boxedFirst ? host.confinement : without);
  const second = await boot(boxedFirst ? without : host.confinement);
  const [boxed, free] = boxedFirst ? [first, second] : [second, first];
  measured.push({ boxed, free });
  const words = ({ seconds, work }: Boot): string => `${seconds.toFixed(2)} s (${work.toFixed(2)} of processor)`;
  process.stderr.write(`round ${round + 1}: ${words(boxed)} in the box, ${words(free)} without; load ${load()}\n`);
}

function line(name: string, unit: string, of: (boot: Boot) => number, digits: number): string {
  const median = (values: readonly number[]): string =>
    (values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN).toFixed(digits);
  const figures = [
    median(measured.map(({ boxed }) => of(boxed))),
    median(measured.map(({ free }) => of(free))),
    median(measured.map(({ boxed, free }) => of(boxed) / of(free))),
  ];
  return `${`${name}, ${unit}`.padEnd(20)}${figures.map((figure) => figure.padStart(9)).join('')}`;
}

process.stdout.write(
  [
    `${String(rounds).padStart(3)} rounds            in box  without    ratio`,
    `${line('boot', 's', ({ seconds }) => seconds, 2)}   (goal: at most 1.1)`,
    line('processor time', 's', ({ work }) => work, 2),
    line('memory', 'MiB', ({ mebibytes }) => mebibytes, 2),
    '',
  ].join('\n'),
);
