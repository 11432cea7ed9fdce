/** Outputs of commands that were larger than one page, kept for a while so that the rest can be asked for. */
import type { Clock } from '../base/clock.ts';
import type { ExecOutcome } from '../guest/guest.ts';

/** The initiator asks for the next page at once; this is patience for a slow server. */
const KEPT_MS = 60_000;

/** Of all leases together: two of the largest outcomes, 16 MiB on each of two streams. Beyond that the oldest is forgotten. */
const KEPT_BYTES = 64 * 1024 * 1024;

export interface Outputs {
  keep(lease: string, exec: string, outcome: ExecOutcome): void;
  find(lease: string, exec: string): ExecOutcome | undefined;
  /** The lease ended. */
  drop(lease: string): void;
}

export function createOutputs(clock: Clock): Outputs {
  const kept = new Map<
    string,
    { readonly lease: string; readonly outcome: ExecOutcome; readonly cancel: () => void }
  >();
  let bytes = 0;
  const sizeOf = ({ stdout, stderr }: ExecOutcome) => stdout.length + stderr.length;

  const forget = (exec: string) => {
    const entry = kept.get(exec);
    if (!entry) return;
    entry.cancel();
    kept.delete(exec);
    bytes -= sizeOf(entry.outcome);
  };

  return {
    keep(lease, exec, outcome) {
      kept.set(exec, { lease, outcome, cancel: clock.after(KEPT_MS, () => forget(exec)) });
      bytes += sizeOf(outcome);
      for (const oldest of kept.keys()) {
        if (bytes <= KEPT_BYTES || oldest === exec) break;
        forget(oldest);
      }
    },
    find(lease, exec) {
      const entry = kept.get(exec);
      return entry?.lease === lease ? entry.outcome : undefined;
    },
    drop(lease) {
      for (const [exec, entry] of kept) if (entry.lease === lease) forget(exec);
    },
  };
}
