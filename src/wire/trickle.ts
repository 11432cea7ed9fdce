/** What waits for a slow line: small batches first, old bulk thrown away, large batches in pieces. Pure but for the time it is given. */
import { BoundedQueue } from '../base/queue.ts';
import { u16At } from '../net/bytes.ts';
import type { Batch } from '../net/wire.ts';

/*
 * A payload is entries, one after the other:
 *   | 0 0 | length 14 bits | batch |                          a whole batch
 *   | 1 L | length 14 bits | batch number | piece number | …   a piece of one; L marks the last
 *
 * At 6 kB/s a batch of seven full frames takes two seconds. In pieces it leaves gaps for the keystrokes of others. Pieces of two
 * batches are never mixed; with one piece lost the batch is lost.
 */
const PREFIX_BYTES = 2;
const PIECE_BYTES = 4;
const PIECE = 0x8000;
const LAST = 0x4000;
const MAX_LENGTH = 0x3fff;

/** A keystroke, an ACK, ARP, a hello, most of DNS: header and length included. */
const SMALL_BYTES = 276;
/** After so many payloads without room for bulk, bulk goes first once: a flood of small frames does not starve a download. */
const PATIENCE = 4;

/** Bulk may wait this long; CoDel (RFC 8289) with the times of a line on which one full frame takes 0.25 s. */
const TARGET_MS = 1000;
const INTERVAL_MS = 2000;

interface Waiting {
  readonly batch: Batch;
  readonly at: number;
}

export interface Trickle {
  /** Copies. Pushes out the oldest of its kind when the queue is full. */
  push(batch: Batch): void;
  /** The next payload of at most so many bytes. */
  take(max: number): Uint8Array | undefined;
  readonly bytes: number;
  readonly dropped: number;
  /** Drops all. */
  clear(): void;
}

export function createTrickle({ now, maxBytes }: { readonly now: () => number; readonly maxBytes: number }): Trickle {
  const sizeOf = ({ batch }: Waiting) => PREFIX_BYTES + batch.length;
  const small = new BoundedQueue<Waiting>(maxBytes, sizeOf);
  const bulk = new BoundedQueue<Waiting>(maxBytes, sizeOf);
  const codel = createCodel();
  /** The batch that is under way in pieces. */
  let cut: { readonly batch: Batch; readonly number: number; at: number; piece: number } | undefined;
  let cuts = 0;
  let starved = 0;
  let stale = 0;

  function nextBulk(): Waiting | undefined {
    for (;;) {
      const head = bulk.peek();
      if (!head) return undefined;
      const at = now();
      // The last one is never too old: there is nothing behind it that it holds up.
      if (!codel.drops(at - head.at, at, bulk.length > 1)) return head;
      bulk.shift();
      stale++;
    }
  }

  return {
    push(batch) {
      const kept = { batch: new Uint8Array(batch), at: now() }; // not slice(): that of a Buffer is a view
      (batch.length <= SMALL_BYTES ? small : bulk).push(kept);
    },
    take(max) {
      const payload = new Uint8Array(max);
      let length = 0;
      const put = (head: number, bytes: Uint8Array, piece?: readonly [number, number]) => {
        payload[length] = (head | bytes.length) >>> 8;
        payload[length + 1] = (head | bytes.length) & 0xff;
        if (piece) payload.set(piece, length + PREFIX_BYTES);
        payload.set(bytes, length + (piece ? PIECE_BYTES : PREFIX_BYTES));
        length += (piece ? PIECE_BYTES : PREFIX_BYTES) + bytes.length;
      };

      const takeSmall = () => {
        for (let next = small.peek(); next && length + sizeOf(next) <= max; next = small.peek()) {
          put(0, next.batch);
          small.shift();
        }
      };

      const takeBulk = () => {
        for (;;) {
          if (!cut) {
            const next = nextBulk();
            if (!next) return;
            if (length + sizeOf(next) <= max) {
              put(0, next.batch);
              bulk.shift();
              continue;
            }
            // A batch that fits into the next payload is not worth cutting.
            if (sizeOf(next) <= max && length > 0) return;
            cut = { batch: next.batch, number: cuts++ & 0xff, at: 0, piece: 0 };
            bulk.shift();
          }
          const room = max - length - PIECE_BYTES;
          if (room <= 0) return;
          const bytes = cut.batch.subarray(cut.at, cut.at + room);
          cut.at += bytes.length;
          const isLast = cut.at === cut.batch.length;
          put(isLast ? PIECE | LAST : PIECE, bytes, [cut.number, cut.piece++]);
          if (!isLast) return;
          cut = undefined;
        }
      };

      const isWaiting = cut !== undefined || bulk.length > 0;
      if (starved >= PATIENCE) takeBulk();
      const before = length;
      takeSmall();
      if (before === 0) {
        const smallOnly = length;
        takeBulk();
        starved = isWaiting && length === smallOnly ? starved + 1 : 0;
      } else starved = 0;
      return length === 0 ? undefined : payload.subarray(0, length);
    },
    get bytes() {
      return small.bytes + bulk.bytes + (cut ? cut.batch.length - cut.at : 0);
    },
    get dropped() {
      return small.dropped + bulk.dropped + stale;
    },
    clear() {
      stale += small.length + bulk.length + (cut ? 1 : 0);
      small.clear();
      bulk.clear();
      cut = undefined;
    },
  };
}

/** RFC 8289, 5.5: drops at the head once the wait was too long for an interval, then more and more often until it is not. */
function createCodel() {
  let aboveSince: number | undefined;
  let dropping = false;
  let count = 0;
  let dropAt = 0;
  return {
    drops(waited: number, at: number, mayDrop: boolean): boolean {
      if (waited < TARGET_MS || !mayDrop) {
        aboveSince = undefined;
        dropping = false;
        return false;
      }
      aboveSince ??= at;
      if (!dropping) {
        if (at - aboveSince < INTERVAL_MS) return false;
        dropping = true;
        count = at - dropAt < 8 * INTERVAL_MS && count > 2 ? count - 2 : 1;
        dropAt = at;
      }
      if (at < dropAt) return false;
      count++;
      dropAt += INTERVAL_MS / Math.sqrt(count);
      return true;
    },
  };
}

/** Puts together what `take` made. */
export function createTrickleReader(use: (batch: Batch) => void): {
  /** False when the lengths do not add up; what came before was handed out. */
  read(payload: Uint8Array): boolean;
} {
  let pieces: Uint8Array[] = [];
  let bytes = 0;
  let number = -1;
  const forget = () => {
    pieces = [];
    bytes = 0;
  };

  function piece(entry: Uint8Array, isLast: boolean): void {
    const [of, at] = entry;
    if (at === 0) {
      forget();
      number = of!;
    } else if (of !== number || at !== pieces.length) return forget();
    pieces.push(new Uint8Array(entry.subarray(PIECE_BYTES - PREFIX_BYTES)));
    bytes += entry.length - (PIECE_BYTES - PREFIX_BYTES);
    if (bytes > MAX_LENGTH) return forget();
    if (!isLast) return;
    const batch = new Uint8Array(bytes);
    let to = 0;
    for (const part of pieces) {
      batch.set(part, to);
      to += part.length;
    }
    forget();
    use(batch);
  }

  return {
    read(payload) {
      let at = 0;
      while (at < payload.length) {
        if (at + PREFIX_BYTES > payload.length) return false;
        const head = u16At(payload, at);
        const isPiece = (head & PIECE) !== 0;
        const start = at + PREFIX_BYTES;
        const end = start + (head & MAX_LENGTH) + (isPiece ? PIECE_BYTES - PREFIX_BYTES : 0);
        if ((head & MAX_LENGTH) === 0 || end > payload.length || (!isPiece && (head & LAST) !== 0)) return false;
        if (isPiece) piece(payload.subarray(start, end), (head & LAST) !== 0);
        else use(payload.subarray(start, end));
        at = end;
      }
      return true;
    },
  };
}
