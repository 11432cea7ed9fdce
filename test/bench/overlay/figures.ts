/** From what iperf3 and ping print to rows and ratios. Pure. */

/** One turn of one overlay. */
export interface Sample {
  /** Mean of both directions, TCP payload. */
  readonly mbps: number;
  readonly cpuPerGB: number;
  /** Milliseconds. */
  readonly roundTrips: readonly number[];
}

export interface Row {
  readonly name: string;
  readonly mtu: number;
  readonly mbps: number;
  readonly rttP50: number;
  readonly rttP99: number;
  readonly cpuPerGB: number;
}

export interface Transfer {
  readonly bytes: number;
  readonly seconds: number;
}

/** The receiver's sum at the end of `iperf3 --json`. */
export function parseIperf(text: string): Transfer {
  const { end, error } = JSON.parse(text) as {
    readonly end?: { readonly sum_received?: { readonly bytes?: number; readonly seconds?: number } };
    readonly error?: string;
  };
  const { bytes, seconds } = end?.sum_received ?? {};
  if (error !== undefined || bytes === undefined || !seconds) throw new Error(`iperf3: ${error ?? 'no result'}`);
  return { bytes, seconds };
}

/** `64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 time=0.31 ms`, one per answer. */
export const parsePing = (text: string): number[] =>
  [...text.matchAll(/ time=([\d.]+) ms/g)].map(([, ms]) => Number(ms));

export const megabits = ({ bytes, seconds }: Transfer): number => (bytes * 8) / seconds / 1e6;

/** The value that `share` of all are at or below (nearest rank). NaN of nothing. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

export function rowOf(name: string, mtu: number, samples: readonly Sample[]): Row {
  const roundTrips = samples.flatMap((sample) => sample.roundTrips);
  return {
    name,
    mtu,
    mbps: round(median(samples.map(({ mbps }) => mbps)), 1),
    rttP50: round(quantile(roundTrips, 0.5), 3),
    rttP99: round(quantile(roundTrips, 0.99), 3),
    cpuPerGB: round(median(samples.map(({ cpuPerGB }) => cpuPerGB)), 2),
  };
}

/** The five that the bench compares us with. */
const PEERS = ['tinc', 'openvpn', 'n2n', 'fastd', 'vde-ssh'] as const;

/** What our rows are held against, besides the five: the machine's limits. */
const AGAINST: Readonly<Record<string, readonly string[]>> = {
  'direct-1500': ['veth-1500', 'qemu-tcp-1500'],
  'direct-9000': ['qemu-tcp-9000'],
  'webrtc-1500': ['veth-1500', 'qemu-tcp-1500'],
};

export type Ratios = Readonly<Record<string, Readonly<Record<string, number>>>>;

/**
 * Our medians divided by the others'. `fastestPeer`: by the best of the five. At 1500 like is compared with like: rows of an MTU up
 * to that; at 9000 each peer counts with the MTU that is best for it.
 */
export function ratiosOf(rows: readonly Row[]): Ratios {
  const find = (key: string): Row | undefined => rows.find(({ name, mtu }) => key === `${name}-${mtu}`);
  const ratios: Record<string, Record<string, number>> = {};
  const put = (to: string, name: string, value: number): void => {
    if (Number.isFinite(value)) (ratios[to] ??= {})[name] = round(value, 2);
  };
  for (const [key, limits] of Object.entries(AGAINST)) {
    const ours = find(`kith-${key}`);
    if (!ours) continue;
    const peers = PEERS.flatMap((peer) => bestOf(rows, peer, ours.mtu) ?? []);
    if (peers.length > 0) put(key, 'fastestPeer', ours.mbps / Math.max(...peers.map(({ mbps }) => mbps)));
    for (const { name, mbps } of peers) put(key, name, ours.mbps / mbps);
    for (const limit of limits) put(key, limit, ours.mbps / (find(limit)?.mbps ?? Number.NaN));
    put(key, 'cpuPerGBToTinc', ours.cpuPerGB / (bestOf(rows, 'tinc', ours.mtu)?.cpuPerGB ?? Number.NaN));
  }
  for (const mtu of [1500, 9000]) {
    const [switched, direct] = [find(`kith-switch-${mtu}`), find(`qemu-unix-${mtu}`)];
    if (!switched || !direct) continue;
    put('switch', String(mtu), switched.mbps / direct.mbps);
    put('switch', `addedRttP50-${mtu}`, switched.rttP50 - direct.rttP50);
  }
  return ratios;
}

const bestOf = (rows: readonly Row[], name: string, mtu: number): Row | undefined =>
  rows.filter((row) => row.name === name && row.mtu <= mtu).sort((a, b) => b.mbps - a.mbps)[0];

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
