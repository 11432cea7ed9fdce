/**
 * Makes one direction of a link suffer: rate, delay, jitter, loss, duplication, reordering, corruption, as netem does
 * (man tc-netem; sch_netem.c). Pure: time and chance come from outside.
 *
 * It stands between the switch and the wire, for what we send; the other direction is the other end's. It outlives wires:
 * what waits here leaves over the wire that was wrapped or used last. Hellos and notes pass by it, so that routing does not
 * flee from a link that is bad on purpose.
 *
 * Loss, duplication and corruption are of single frames (impair.ts). Time is of batches, which are never split: a second
 * batch with the same sequence number would be taken for a duplicate on the way.
 */
import type { Clock } from '../base/clock.ts';
import { FRAMES, HEADER_BYTES, typeOf } from './batch.ts';
import { impair } from './impair.ts';
import type { Shape } from './shape.ts';
import type { Batch, Wire } from './wire.ts';

export interface ShaperStats {
  readonly queuedBatches: number;
  readonly queuedBytes: number;
  /** Frames. */
  readonly lost: number;
  readonly duplicated: number;
  readonly corrupted: number;
  /** Frames that found the queue full. */
  readonly overLimit: number;
  /** Duplicates that did not fit into their batch. */
  readonly unfit: number;
  /** Batches that went ahead of others. */
  readonly reordered: number;
  /** Batches that came due and found no wire, or one that refused them. */
  readonly refused: number;
}

export interface Shaper extends Disposable {
  readonly shape: Shape | undefined;
  /** From now on. What waits keeps its place, but does not wait longer than the new shape asks; without one it leaves at once. */
  set(shape: Shape | undefined): void;
  /** The wire as the switch should see it. */
  wrap(wire: Wire): Wire;
  stats(): ShaperStats;
}

/** netem's own default, in frames. */
const LIMIT_FRAMES = 1000;
/** A thousand frames of 64 KiB would be 64 MiB for each link; this is 130 ms at 1 Gbit/s. */
const LIMIT_BYTES = 16 * 2 ** 20;

interface Waiting {
  at: number;
  readonly batch: Batch;
  readonly frames: number;
}

export function createShaper(options: {
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random?: () => number;
  /** Largest batch that all wires on the way to a node take; a duplicate must not make one larger. The wire's own if not said. */
  readonly limit?: (batch: Batch) => number;
}): Shaper {
  const { clock, random = Math.random, limit } = options;
  const counts = { lost: 0, duplicated: 0, corrupted: 0, overLimit: 0, unfit: 0, reordered: 0, refused: 0 };
  /** By the time that they are due. */
  let queue: Waiting[] = [];
  let queuedFrames = 0;
  let queuedBytes = 0;
  let shape: Shape | undefined;
  let wire: Wire | undefined;
  /** When the last batch in order is through: the next one does not overtake it. */
  let last = 0;
  let timer: { readonly at: number; readonly cancel: () => void } | undefined;

  const transmitMs = (bytes: number, { rate }: Shape) => (rate === undefined ? 0 : (bytes * 8000) / rate);

  /** sch_netem.c, netem_enqueue(): with a rate the last batch in the queue is the point of reference, else each is on its own. */
  function due(bytes: number, by: Shape): number {
    const now = clock.now();
    const { delayMs = 0, jitterMs = 0, rate, reorder = 0 } = by;
    if (reorder > 0 && random() < reorder) {
      counts.reordered++;
      // Unlike netem's it is paid for, so that the rate holds.
      if (rate !== undefined) last = Math.max(last, now) + transmitMs(bytes, by);
      return now;
    }
    const arrival = now + delayMs + (jitterMs > 0 ? (2 * random() - 1) * jitterMs : 0);
    if (rate === undefined && jitterMs > 0) return arrival;
    last = Math.max(last, arrival) + transmitMs(bytes, by);
    return last;
  }

  function enqueue(batch: Batch, by: Shape, to: Wire): boolean {
    const room = {
      frames:
        (by.limitFrames ?? (by.limitBytes === undefined ? LIMIT_FRAMES : Number.POSITIVE_INFINITY)) - queuedFrames,
      bytes: Math.min(by.limitBytes ?? LIMIT_BYTES, LIMIT_BYTES) - queuedBytes,
    };
    const max = Math.min(to.maxBatch, limit?.(batch) ?? to.maxBatch);
    const before = counts.overLimit;
    const left = impair(batch, by, { room, max, random, counts });
    if (!left) return counts.overLimit === before; // lost is not refused
    insert({ at: due(left.bytes, by), batch: left.batch, frames: left.frames });
    arm();
    return true;
  }

  function insert(entry: Waiting): void {
    queuedFrames += entry.frames;
    queuedBytes += entry.batch.length;
    let low = 0;
    let high = queue.length;
    // Nearly always at the end; behind what is due at the same time.
    if (high > 0 && queue[high - 1]!.at <= entry.at) low = high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (queue[middle]!.at <= entry.at) low = middle + 1;
      else high = middle;
    }
    queue.splice(low, 0, entry);
  }

  function arm(): void {
    const next = queue[0];
    if (!next || (timer && timer.at <= next.at)) return;
    timer?.cancel();
    const cancel = clock.after(Math.max(0, next.at - clock.now()), () => {
      timer = undefined;
      leave(clock.now());
      arm();
    });
    timer = { at: next.at, cancel };
  }

  /** All that are due: a timer that was late has the rate made good. */
  function leave(until: number): void {
    const end = queue.findIndex(({ at }) => at > until);
    for (const { batch, frames } of queue.splice(0, end < 0 ? queue.length : end)) {
      queuedFrames -= frames;
      queuedBytes -= batch.length;
      if (!wire?.send(batch)) counts.refused++;
    }
  }

  function set(next: Shape | undefined): void {
    shape = next;
    timer?.cancel();
    timer = undefined;
    last = 0;
    if (!next) return leave(Number.POSITIVE_INFINITY);
    const latest = clock.now() + (next.delayMs ?? 0) + (next.jitterMs ?? 0);
    for (const entry of queue) {
      last = Math.max(last, Math.min(entry.at, latest)) + transmitMs(entry.batch.length - HEADER_BYTES, next);
      entry.at = last;
    }
    arm();
  }

  return {
    get shape() {
      return shape;
    },
    set,
    wrap(inner) {
      wire = inner;
      let drops = 0;
      return {
        rung: inner.rung,
        maxBatch: inner.maxBatch,
        closed: inner.closed,
        send(batch) {
          if (shape === undefined || typeOf(batch) !== FRAMES) return inner.send(batch);
          wire = inner;
          if (batch.length <= inner.maxBatch && enqueue(batch, shape, inner)) return true;
          drops++;
          return false;
        },
        stats() {
          const { drops: refused, queuedBytes: below, ...rest } = inner.stats();
          return { ...rest, drops: refused + drops, queuedBytes: below + (wire === inner ? queuedBytes : 0) };
        },
        [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
      };
    },
    stats: () => ({ ...counts, queuedBatches: queue.length, queuedBytes }),
    [Symbol.dispose]() {
      timer?.cancel();
      timer = undefined;
      shape = undefined;
      queue = [];
      queuedFrames = 0;
      queuedBytes = 0;
    },
  };
}
