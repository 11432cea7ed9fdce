/**
 * The figures of the README. Interleaved rounds in one run:
 * one guest booted alone to its shell, the warm demo with three workers from its start to the sweep, and the memory of both.
 *
 *   node test/bench/first-light.ts [rounds, default 5]
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openTestLan } from '../harness/guest.ts';
import { openWorld } from '../harness/kith.ts';

const rounds = Number(process.argv[2] ?? 5);
/** Long enough for the first garbage collections after joining. */
const IDLE_MS = 10_000;

interface Round {
  readonly alone: number;
  readonly demo: number;
  readonly guestMiB: number;
  readonly workerMiB: number;
}

async function guestAlone(): Promise<{ readonly seconds: number; readonly residentMiB: number }> {
  await using lan = await openTestLan(1);
  await using guest = await lan.boot(0);
  return { seconds: guest.bootSeconds, residentMiB: (await guest.residentMiB()) ?? Number.NaN };
}

async function idleWorkerMiB(): Promise<number> {
  await using world = await openWorld();
  await world.host();
  const worker = await world.worker('idle');
  await sleep(IDLE_MS);
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${worker.pid}/status`, 'utf8'))?.[1];
  return Number(kib) / 1024;
}

async function demoSeconds(): Promise<number> {
  await using world = await openWorld();
  const { code, stdout, stderr } = await world.run(['demo', '--json']);
  if (code !== 0) throw new Error(`the demo failed: ${stdout}${stderr}`);
  return (JSON.parse(stdout) as { seconds: { total: number } }).seconds.total;
}

const measured: Round[] = [];
for (let round = 0; round < rounds; round++) {
  const { seconds, residentMiB } = await guestAlone();
  const figures = {
    alone: seconds,
    demo: await demoSeconds(),
    guestMiB: residentMiB,
    workerMiB: await idleWorkerMiB(),
  };
  measured.push(figures);
  process.stderr.write(`round ${round + 1}: ${JSON.stringify(figures)}\n`);
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
const of = (key: keyof Round) => median(measured.map((round) => round[key]));
process.stdout.write(
  [
    `rounds                          ${rounds}`,
    `one guest alone, s              ${of('alone').toFixed(2)}`,
    `demo, four guests, s            ${of('demo').toFixed(2)}`,
    `demo / one guest                ${median(measured.map(({ demo, alone }) => demo / alone)).toFixed(2)}   (goal: at most 5)`,
    `idle worker process, MiB        ${of('workerMiB').toFixed(0)}   (goal: at most 110)`,
    `micro guest, MiB                ${of('guestMiB').toFixed(0)}   (goal: at most 220)`,
    '',
  ].join('\n'),
);
