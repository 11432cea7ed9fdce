/** How fast may we send? Starts with what the server is said to bear, slows down when its receipts come late, and feels its way up again. Pure. */

/*
 * A server that throttles just reads more slowly: what it has not read is latency of everything behind it, and the only sign of it
 * is the time that a receipt takes. Limits are per connection: nobody else has to be left room for, so that small factors do both ways.
 */

/** At the share of the limit that pacer.ts uses a receipt takes 0.3 s at most (measured, stock Prosody): this is clearly more. */
const LATE_MS = 800;
const QUICK_MS = 350;
const DOWN = 0.7;
/** For each quick receipt, of which there is about one in a second. */
const UP = 0.05;
/** Slower than this no server is, and signalling would die. */
const MIN_BYTES_PER_SECOND = 500;

export interface Pace {
  readonly bytesPerSecond: number;
  /** A receipt is there. `hungry`: something waited for the pace. */
  receipt(receipt: {
    readonly askedAt: number;
    readonly now: number;
    /** Bytes that it confirms. */
    readonly bytes: number;
    readonly hungry: boolean;
  }): void;
}

export function createPace(options: {
  readonly bytesPerSecond: number;
  /** Never faster. */
  readonly maxBytesPerSecond: number;
}): Pace {
  const first = options.bytesPerSecond;
  const most = Math.max(first, options.maxBytesPerSecond);
  const least = Math.min(first, MIN_BYTES_PER_SECOND);
  let bytesPerSecond = first;
  let slowedAt = -Infinity;
  let heardAt = -Infinity;
  return {
    get bytesPerSecond() {
      return bytesPerSecond;
    },
    receipt({ askedAt, now, bytes, hungry }) {
      const took = now - askedAt;
      const since = now - heardAt;
      heardAt = now;
      // What was asked before we slowed down waited behind the old pace.
      if (took > LATE_MS && askedAt > slowedAt) {
        // Receipt upon receipt without a pause: then what came through is what the server bears.
        const passed = since <= 2 * took ? (bytes * 1000) / since : Infinity;
        bytesPerSecond = Math.max(least, Math.min(bytesPerSecond * DOWN, passed));
        slowedAt = now;
      } else if (took < QUICK_MS && hungry) {
        bytesPerSecond = Math.min(most, bytesPerSecond * (1 + UP));
      }
    },
  };
}
