/** The owner's cap on bandwidth: what guests of this machine send and receive, together, within so many bytes per second. */
import type { Clock } from '../base/clock.ts';
import type { RunningGuest } from '../guest/guest.ts';
import type { Port, RunHandler } from '../net/port.ts';

/** What may come at once, as time at the full rate: enough for a TCP window to open, too short to be felt. */
const BURST_SECONDS = 0.25;

export interface Rate {
  /** False: too much. A run is whole frames of any length, so the last one may go into debt; the average holds. */
  take(bytes: number): boolean;
}

export function createRate(clock: Pick<Clock, 'now'>, bytesPerSecond: () => number | undefined): Rate {
  let tokens = 0;
  let filled = Number.NEGATIVE_INFINITY;
  return {
    take(bytes) {
      const rate = bytesPerSecond();
      if (rate === undefined) return true;
      const now = clock.now();
      tokens = Math.min(rate * BURST_SECONDS, tokens + (Math.min(now - filled, 60_000) * rate) / 1000);
      filled = now;
      if (tokens <= 0) return false;
      tokens -= bytes;
      return true;
    },
  };
}

/** Hot path: one look at the bucket per run. What is too much is dropped, as on any full link. */
export const limitRuns =
  (rate: Rate, onRun: RunHandler): RunHandler =>
  (run, headroom) => {
    if (rate.take(run.length)) onRun(run, headroom);
  };

export function limitPort(rate: Rate, guest: RunningGuest): RunningGuest {
  const inner = guest.port;
  const port: Port = {
    name: inner.name,
    closed: inner.closed,
    send: (run) => rate.take(run.length) && inner.send(run),
  };
  return Object.create(guest, { port: { value: port, enumerable: true } }) as RunningGuest;
}
