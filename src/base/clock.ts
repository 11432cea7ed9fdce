/** Time as a dependency, so that logic with deadlines runs under a virtual clock in tests. */

export interface Clock {
  /** Milliseconds since some fixed start; only differences mean something. */
  now(): number;
  /** Runs `task` once after `ms`; the returned function cancels it. Never keeps the process alive. */
  after(ms: number, task: () => void): () => void;
  /** Runs `task` each `ms`; the returned function cancels it. Never keeps the process alive. */
  every(ms: number, task: () => void): () => void;
}

/** Node fires a timer of more than 2^31 - 1 ms at once (docs: timers, setTimeout). */
const MAX_TIMER_MS = 2_147_483_647;

export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, task) {
    const timer = setTimeout(task, Math.min(ms, MAX_TIMER_MS)).unref();
    return () => clearTimeout(timer);
  },
  every(ms, task) {
    const timer = setInterval(task, ms).unref();
    return () => clearInterval(timer);
  },
};
