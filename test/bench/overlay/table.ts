/** The figures as text for people. Pure. */
import type { Ratios, Row } from './figures.ts';

/** One line below the table: something that a LAN costs while nobody uses it. */
export interface Cost {
  readonly what: string;
  readonly value: string;
}

export const megabitsText = (mbps: number): string => Math.round(mbps).toString().padStart(6);

const fixed = (value: number, digits: number, width: number): string =>
  (Number.isFinite(value) ? value.toFixed(digits) : '-').padStart(width);

export function tableOf(rows: readonly Row[], ratios: Ratios, costs: readonly Cost[]): string {
  const head = `${'overlay'.padEnd(14)}${'MTU'.padStart(6)}${'Mbit/s'.padStart(9)}${'CPU-s/GB'.padStart(10)}${'ping p50'.padStart(10)}${'p99 ms'.padStart(9)}`;
  const body = rows.map(
    ({ name, mtu, mbps, cpuPerGB, rttP50, rttP99 }) =>
      `${name.padEnd(14)}${String(mtu).padStart(6)}${fixed(mbps, 0, 9)}${fixed(cpuPerGB, 2, 10)}${fixed(rttP50, 3, 10)}${fixed(rttP99, 3, 9)}`,
  );
  const lines = Object.entries(ratios).map(
    ([key, against]) =>
      `${key.padEnd(14)}${Object.entries(against)
        .map(([name, value]) => `${name} ${value}`)
        .join(', ')}`,
  );
  const paid = costs.map(({ what, value }) => `${what}: ${value}`);
  return [
    head,
    ...body,
    '',
    'ours divided by theirs (medians of this run)',
    ...lines,
    ...(paid.length > 0 ? ['', ...paid] : []),
    '',
    'CPU-s/GB: user and system time of all processes of the overlay, QEMU included, without iperf3; kernel work is charged to whoever',
    'caused it, plus the ksoftirqd threads of the machine. Mbit/s: TCP payload, mean of both directions.',
  ].join('\n');
}
