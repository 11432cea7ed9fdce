/**
 * `npm run bench`: Kith against the overlays that people use, on this machine, in one run. As root: it makes two network
 * namespaces, and everything else in them.
 *   --quick     two minutes: fewer turns of one second
 *   --json      the last line on stdout is one line of JSON; the table goes to stderr
 *   --rounds N  turns of each row (5; quick: as many as fit)
 *   --seconds N of each direction in a turn (3; quick: 1)
 *   --only A,B  rows by name or name-mtu
 *   --svg FILE  writes the chart
 *   --control   what idle links and routes cost, also in a quick run or one of a few rows
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { describeError } from '../../../src/base/errors.ts';
import { chartOf } from './chart.ts';
import { controlCosts } from './control.ts';
import { ratiosOf, rowOf, type Row } from './figures.ts';
import { guestOverlays } from './guests.ts';
import { KITH_OVERLAYS } from './kith.ts';
import { LIMIT_OVERLAYS } from './limits.ts';
import type { Overlay } from './overlay.ts';
import { PEER_OVERLAYS } from './peers.ts';
import { openAll, takeRounds, type Contestant } from './rounds.ts';
import { openSite, requireRoot } from './site.ts';
import { tableOf } from './table.ts';

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    only: { type: 'string' },
    svg: { type: 'string' },
    control: { type: 'boolean', default: false },
  },
});

/** With set-up, guests and the end this stays within two minutes on two cores. */
const QUICK_BUDGET_MS = 88_000;
const QUICK_ROUNDS = 3;
const FULL_ROUNDS = 5;

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => stop.abort(new DOMException(`stopped by ${signal}`, 'AbortError')));
}

/** What the quick run leaves out: other MTUs of the same program that are not its best. */
const QUICK_WITHOUT = new Set(['n2n-1400', 'fastd-1500', 'kith-webrtc-9000', 'qemu-tcp-9000', 'kith-guests-9000']);

function chosen(all: readonly Overlay[]): Overlay[] {
  const only = options.only?.split(',');
  return all.filter(({ name, mtu }) => {
    const key = `${name}-${mtu}`;
    return only ? only.includes(name) || only.includes(key) : !(options.quick && QUICK_WITHOUT.has(key));
  });
}

const rowsOf = (contestants: readonly Contestant[]): Row[] =>
  contestants
    .filter(({ samples }) => samples.length > 0)
    .map(({ overlay, samples }) => rowOf(overlay.name, overlay.mtu, samples));

async function bench(): Promise<void> {
  requireRoot(process.getuid?.());
  await using site = await openSite(stop.signal);
  const guests = await guestOverlays(say);
  const overlays = chosen([...KITH_OVERLAYS, ...guests, ...PEER_OVERLAYS, ...LIMIT_OVERLAYS]);
  const contestants = await openAll(site, overlays, say);
  await takeRounds(site, contestants, {
    rounds: Number(options.rounds ?? (options.quick ? QUICK_ROUNDS : FULL_ROUNDS)),
    budgetMs: options.quick ? QUICK_BUDGET_MS : Number.POSITIVE_INFINITY,
    turn: { seconds: Number(options.seconds ?? (options.quick ? 1 : 3)), pings: options.quick ? 50 : 300 },
    signal: stop.signal,
    say,
  });
  const rows = rowsOf(contestants);
  const ratios = ratiosOf(rows);
  for (const { opened } of contestants) {
    for (const one of opened.running) await one[Symbol.asyncDispose]();
  }
  // A minute of silence is more than a quick run has.
  const costs = options.control || !(options.quick || options.only) ? await controlCosts(site, say) : [];
  const text = tableOf(rows, ratios, costs);
  if (options.svg) writeFileSync(options.svg, chartOf(rows));
  if (options.json) say(text);
  else process.stdout.write(`${text}\n`);
  if (options.json) process.stdout.write(`${JSON.stringify({ rows, ratios })}\n`);
}

try {
  await bench();
} catch (error) {
  say(describeError(stop.signal.aborted ? stop.signal.reason : error));
  process.exitCode = 1;
}
