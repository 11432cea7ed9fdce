/** How much may be under way? Learned from what the other end says it has read: the rate that gets through, and the shortest round trip. */

/*
 * SCTP takes up to its whole send buffer without a word, 3 s of a line of 10 Mbit/s, and hands the receiver what he has no time
 * to read. So the ends count for themselves: each says how many bytes it has read, and nobody has more under way than what the path holds
 * and a little for the queue. The estimate is that of BBR: largest rate of delivery of late, smallest round trip of late.
 */

/** Said after this many bytes. One word for each full message. */
export const STEP_BYTES = 65_536;
/** On a slow line, where a step takes long: after this many, if so much time went by. */
const SMALL_STEP_BYTES = 8192;
const SMALL_STEP_MS = 20;

/** Two steps: with less, the sender could wait for a word that nobody has a reason to say. */
const MIN_WINDOW_BYTES = 2 * STEP_BYTES;
/** SCTP's receive buffer (native.ts). */
const MAX_WINDOW_BYTES = 4_194_304;
const FIRST_WINDOW_BYTES = 262_144;
/** Allowed on top of twice the path: covers a late turn of an event loop, and is what a probe waits behind. */
const SLACK_MS = 20;
/** How long a rate and a round trip count. */
const RATE_MS = 1000;
const ROUND_TRIP_MS = 10_000;

/** A rate is taken over at least this long: what was read comes in bursts. */
const SAMPLE_MS = 10;

export interface Window {
  /** A message was handed over. */
  sent(bytes: number): void;
  /** The other end has read this much in all, modulo 2^32. False: more than was sent. */
  read(total: number): boolean;
  /** Sent, and as far as we know not read. */
  readonly unread: number;
  /** Another message may go. */
  readonly open: boolean;
  /** More is under way than the path holds: what waits now loses nothing by waiting. */
  readonly backlogged: boolean;
  /** Bytes that pass in so many milliseconds. */
  passes(ms: number): number;
}

interface Mark {
  readonly total: number;
  readonly at: number;
}

export function createWindow(now: () => number): Window {
  const rate = createBest(RATE_MS, Math.max, 0);
  const roundTrip = createBest(ROUND_TRIP_MS, Math.min, Infinity);
  let marks: Mark[] = [];
  let head = 0;
  let total = 0;
  let readTotal = 0;
  /** The rate is being taken since then. */
  let sample = { at: now(), read: 0 };
  let limit = FIRST_WINDOW_BYTES;
  let path = 0;

  function learn(mark: Mark, at: number): void {
    roundTrip.add(at - mark.at, at);
    const ms = at - sample.at;
    if (ms >= Math.max(SAMPLE_MS, roundTrip.value)) {
      rate.add((readTotal - sample.read) / ms, at);
      sample = { at, read: readTotal };
    }
    path = rate.value * roundTrip.value;
    // Twice the path: a flow that grows finds room to show that more gets through.
    limit = Math.min(Math.max(2 * path + rate.value * SLACK_MS, MIN_WINDOW_BYTES), MAX_WINDOW_BYTES);
  }

  return {
    sent(bytes) {
      const at = now();
      if (total === readTotal) sample = { at, read: total }; // a pause is not slowness
      total += bytes;
      marks.push({ total, at });
    },
    read(said) {
      const step = (said - (readTotal % 2 ** 32) + 2 ** 32) % 2 ** 32;
      if (step > total - readTotal) return false;
      readTotal += step;
      let last: Mark | undefined;
      for (let mark = marks[head]; mark && mark.total <= readTotal; mark = marks[++head]) last = mark;
      if (last) learn(last, now());
      if (head > 64 && head * 2 > marks.length) {
        marks = marks.slice(head);
        head = 0;
      }
      return true;
    },
    get unread() {
      return total - readTotal;
    },
    get open() {
      return total - readTotal < limit;
    },
    get backlogged() {
      return total - readTotal > path + STEP_BYTES;
    },
    passes: (ms) => rate.value * ms,
  };
}

/** The best of the last one to two periods. */
function createBest(period: number, better: (a: number, b: number) => number, none: number) {
  let before = none;
  let current = none;
  let since = 0;
  return {
    add(value: number, at: number): void {
      if (at - since >= period) {
        before = at - since >= 2 * period ? none : current;
        current = none;
        since = at;
      }
      current = better(current, value);
    },
    get value() {
      return better(before, current);
    },
  };
}

/** The reading end: when is it time to say how much was read? */
export function createReceipts(now: () => number) {
  let total = 0;
  let said = 0;
  let saidAt = now();
  return {
    /** The total to be said now, or undefined. */
    add(bytes: number): number | undefined {
      total += bytes;
      const owed = total - said;
      if (owed < SMALL_STEP_BYTES) return undefined;
      const at = now();
      if (owed < STEP_BYTES && at - saidAt < SMALL_STEP_MS) return undefined;
      said = total;
      saidAt = at;
      return total % 2 ** 32;
    },
  };
}
