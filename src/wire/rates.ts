/** Bytes per second of the last few seconds, from totals that only grow. */
import type { Clock } from '../base/clock.ts';

const SAMPLE_MS = 1000;
const SAMPLES = 6;

export interface Totals {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

export interface Rates extends Disposable {
  /** Over the last five seconds. */
  now(): { readonly sentPerSecond: number; readonly receivedPerSecond: number };
}

export function createRates(clock: Clock, totals: () => Totals): Rates {
  const sample = () => ({ ...totals(), at: clock.now() });
  let samples = [sample()];
  const stop = clock.every(SAMPLE_MS, () => {
    samples = [...samples.slice(1 - SAMPLES), sample()];
  });
  return {
    now() {
      const first = samples[0]!;
      const last = sample();
      const seconds = Math.max(last.at - first.at, SAMPLE_MS) / 1000;
      return {
        sentPerSecond: Math.round((last.sentBytes - first.sentBytes) / seconds),
        receivedPerSecond: Math.round((last.receivedBytes - first.receivedBytes) / seconds),
      };
    },
    [Symbol.dispose]: stop,
  };
}
