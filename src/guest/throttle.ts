/** Holds a guest to a share of its processors by stopping and continuing QEMU; its clock stays right, unlike under QMP stop. */
import type { Clock } from '../base/clock.ts';

export interface Throttle {
  /** Percent of the time that the guest may run; undefined or 100: all of it. Acts at once. */
  limit(percent: number | undefined): void;
}

export interface ThrottleOptions {
  /** False when the process is gone. */
  readonly send: (signal: 'SIGSTOP' | 'SIGCONT') => boolean;
  readonly clock: Clock;
}

/** Stopped for 70 of 100 ms, a guest answers pings in 39 ms on average and 78 at most (measured); longer is felt in a shell. */
const PERIOD_MS = 100;
/** Below this QEMU no longer answers us within a second. */
const LEAST_PERCENT = 5;

export function createThrottle({ send, clock }: ThrottleOptions): Throttle {
  let percent: number | undefined;
  let cancel: (() => void) | undefined;

  const run = (): void => {
    if (percent === undefined || !send('SIGCONT')) return;
    cancel = clock.after((PERIOD_MS * percent) / 100, halt);
  };
  const halt = (): void => {
    if (percent === undefined || !send('SIGSTOP')) return;
    cancel = clock.after((PERIOD_MS * (100 - percent)) / 100, run);
  };

  return {
    limit(wanted) {
      cancel?.();
      const was = percent;
      percent = wanted === undefined || wanted >= 100 ? undefined : Math.max(LEAST_PERCENT, wanted);
      if (percent !== undefined) run();
      else if (was !== undefined) send('SIGCONT');
    },
  };
}
