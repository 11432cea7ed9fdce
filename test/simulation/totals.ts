/** The counts of many scenarios, as numbers and as a page. */
import type { ScenarioResult } from './scenario.ts';

export interface Totals {
  scenarios: number;
  peers: number;
  largest: number;
  readonly shapes: Record<string, number>;
  readonly events: Record<string, number>;
  sent: number;
  delivered: number;
  readonly dropped: Record<string, number>;
  loops: number;
  duplicates: number;
  mostHops: number;
  notes: number;
  readonly healing: { readonly cut: number[]; readonly silent: number[] };
  readonly failures: { readonly seed: number; readonly failure: string }[];
}

export const noTotals = (): Totals => ({
  scenarios: 0,
  peers: 0,
  largest: 0,
  shapes: {},
  events: {},
  sent: 0,
  delivered: 0,
  dropped: {},
  loops: 0,
  duplicates: 0,
  mostHops: 0,
  notes: 0,
  healing: { cut: [], silent: [] },
  failures: [],
});

const addAll = (to: Record<string, number>, from: Readonly<Record<string, number>>) => {
  for (const [name, count] of Object.entries(from)) if (count > 0) to[name] = (to[name] ?? 0) + count;
};

export function add(totals: Totals, result: ScenarioResult): void {
  totals.scenarios++;
  totals.peers += result.peers;
  totals.largest = Math.max(totals.largest, result.peers);
  addAll(totals.shapes, { [result.shape]: 1 });
  addAll(totals.events, result.events);
  totals.sent += result.sent;
  totals.delivered += result.delivered;
  addAll(totals.dropped, result.dropped);
  totals.loops += result.loops;
  totals.duplicates += result.duplicates;
  totals.mostHops = Math.max(totals.mostHops, result.mostHops);
  totals.notes += result.notes;
  totals.healing.cut.push(...result.healing.cut);
  totals.healing.silent.push(...result.healing.silent);
  if (result.failure !== undefined) totals.failures.push({ seed: result.seed, failure: result.failure });
}

/** Milliseconds by nearest rank; 0 of nothing. */
function percentiles(samples: readonly number[]) {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number) => Math.round((sorted[Math.ceil(sorted.length * share) - 1] ?? 0) * 10) / 10;
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

export const summary = ({ healing, ...rest }: Totals) => ({
  ...rest,
  healing: { cut: percentiles(healing.cut), silent: percentiles(healing.silent) },
});

const list = (counts: Readonly<Record<string, number>>) =>
  Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ') || 'none';

export function describe(totals: Totals): string {
  const heal = (samples: readonly number[]) => {
    const { count, p50, p99, max } = percentiles(samples);
    return `${count} times, p50 ${p50} ms, p99 ${p99} ms, max ${max} ms`;
  };
  return [
    `scenarios   ${totals.scenarios}: ${list(totals.shapes)}`,
    `peers       ${totals.peers} in all, ${totals.largest} in the largest LAN`,
    `events      ${list(totals.events)}`,
    `frames      ${totals.sent} sent, ${totals.delivered} delivered (a broadcast counts at each node), at most ${totals.mostHops} hops`,
    `dropped     ${list(totals.dropped)}`,
    `notes       ${totals.notes} batches`,
    `loops       ${totals.loops}`,
    `duplicates  ${totals.duplicates}`,
    `healing     cut: ${heal(totals.healing.cut)}`,
    `            silent: ${heal(totals.healing.silent)}`,
    `failures    ${totals.failures.length}`,
    ...totals.failures.slice(0, 20).map(({ seed, failure }) => `  seed ${seed}: ${failure}`),
  ].join('\n');
}
