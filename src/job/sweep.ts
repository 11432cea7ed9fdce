/** The thesis's diagnosis (its figure 3.1): an nmap ping sweep of the whole LAN from the master guest. */
import { KithError } from '../base/errors.ts';
import type { ExecOptions, Lan } from './define.ts';

// Data channels carry a sweep as fast as nmap can send it. A chat server allows some kilobytes a second: 15 ARP requests
// a second to three peers fit (measured on Prosody's stock 10 kB/s), and answers may take seconds.
const FAST = [
  '--min-parallelism',
  '64',
  '--initial-rtt-timeout',
  '300ms',
  '--max-rtt-timeout',
  '500ms',
  '--max-retries',
  '2',
];
const SLOW = [
  '--max-rate',
  '12',
  '--min-rtt-timeout',
  '4s',
  '--initial-rtt-timeout',
  '5s',
  '--max-rtt-timeout',
  '8s',
  '--max-retries',
  '1',
];

export interface Sweep {
  /** Addresses that answered, in nmap's order. */
  readonly hosts: readonly string[];
  /** nmap's own text. */
  readonly text: string;
}

export async function sweep(lan: Lan, options: ExecOptions = {}): Promise<Sweep> {
  const pace = lan.wires.every((rung) => rung === 'stanza') ? SLOW : FAST;
  const result = await lan.master.exec(['nmap', '-n', '-sn', ...pace, lan.subnet], { timeoutSeconds: 300, ...options });
  if (result.exitCode !== 0) {
    throw new KithError({
      code: 'job.sweep',
      message: `nmap in the master guest failed: ${result.stderr.trim() || `exit code ${result.exitCode}`}`,
    });
  }
  const hosts = [...result.stdout.matchAll(/^Nmap scan report for ([\d.]+)$/gm)].map((match) => match[1] ?? '');
  return { hosts, text: result.stdout };
}
