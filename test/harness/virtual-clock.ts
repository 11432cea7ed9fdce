/** Time that moves only when the test says so. */
import type { Clock } from '../../src/base/clock.ts';

export interface VirtualClock extends Clock {
  /** Runs everything due within the next `ms`, in order of time; what is due at the same moment, in the order it was asked for. */
  advance(ms: number): void;
}

interface Timer {
  at: number;
  order: number;
  readonly every: number | undefined;
  task: (() => void) | undefined;
}

const isBefore = (a: Timer, b: Timer) => a.at < b.at || (a.at === b.at && a.order < b.order);

export function virtualClock(): VirtualClock {
  let time = 0;
  let next = 0;
  /** A binary heap, the earliest on top: simulations have millions of timers. Cancelled ones stay until they are on top. */
  const heap: Timer[] = [];

  function push(timer: Timer): void {
    let at = heap.length;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!isBefore(timer, heap[above]!)) break;
      heap[at] = heap[above]!;
      at = above;
    }
    heap[at] = timer;
  }

  function pop(): void {
    const last = heap.pop()!;
    const size = heap.length;
    if (size === 0) return;
    let at = 0;
    for (let below = 1; below < size; below = 2 * at + 1) {
      if (below + 1 < size && isBefore(heap[below + 1]!, heap[below]!)) below++;
      if (!isBefore(heap[below]!, last)) break;
      heap[at] = heap[below]!;
      at = below;
    }
    heap[at] = last;
  }

  function add(ms: number, every: number | undefined, task: () => void): () => void {
    const timer: Timer = { at: time + ms, order: next++, every, task };
    push(timer);
    return () => {
      timer.task = undefined;
    };
  }

  return {
    now: () => time,
    after: (ms, task) => add(ms, undefined, task),
    every: (ms, task) => add(ms, ms, task),
    advance(ms) {
      const end = time + ms;
      for (let timer = heap[0]; timer && timer.at <= end; timer = heap[0]) {
        pop();
        if (!timer.task) continue;
        time = timer.at;
        const { task } = timer;
        if (timer.every !== undefined) {
          timer.at += timer.every;
          timer.order = next++;
          push(timer);
        }
        task();
      }
      time = end;
    },
  };
}
