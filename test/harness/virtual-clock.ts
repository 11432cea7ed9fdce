/** Time that moves only when the test says so. */
import type { Clock } from '../../src/base/clock.ts';

export interface VirtualClock extends Clock {
  /** Runs everything due within the next `ms`, in order of time. */
  advance(ms: number): void;
}

export function virtualClock(): VirtualClock {
  let time = 0;
  let next = 0;
  const timers = new Map<number, { at: number; readonly every: number | undefined; readonly task: () => void }>();
  const add = (ms: number, every: number | undefined, task: () => void) => {
    const id = next++;
    timers.set(id, { at: time + ms, every, task });
    return () => {
      timers.delete(id);
    };
  };
  return {
    now: () => time,
    after: (ms, task) => add(ms, undefined, task),
    every: (ms, task) => add(ms, ms, task),
    advance(ms) {
      const end = time + ms;
      for (;;) {
        let due: [number, { at: number; readonly every: number | undefined; readonly task: () => void }] | undefined;
        for (const entry of timers) if (entry[1].at <= end && (!due || entry[1].at < due[1].at)) due = entry;
        if (!due) break;
        const [id, timer] = due;
        time = timer.at;
        if (timer.every === undefined) timers.delete(id);
        else timer.at += timer.every;
        timer.task();
      }
      time = end;
    },
  };
}
