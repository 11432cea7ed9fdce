/** Have we seen this flood already? One sliding window of 1024 sequence numbers per source. */

export const WINDOW_BITS = 1024;

/**
 * A sequence number this far or less behind the window is an old copy. Anything farther away, in either direction, can only
 * come from a sender that started again: senders begin at a random number (u32), so a restart lands in this range once in a million.
 */
export const STALE_RANGE = 4096;

const WORDS = WINDOW_BITS / 32;

/**
 * The window belongs to a source, not to an epoch: while a new revision of the plan spreads, nodes flood down different trees for
 * a moment, and only a window that outlives the change keeps every flood from arriving twice or going round.
 */
export class DuplicateWindow {
  readonly #bits = new Uint32Array(WORDS);
  #newest = -1;

  /** True once for each sequence number. Compared by serial number arithmetic (RFC 1982), so wrapping is no event. */
  accept(sequence: number): boolean {
    const ahead = this.#newest < 0 ? STALE_RANGE + 1 : (sequence - this.#newest) | 0;
    if (ahead > WINDOW_BITS || ahead < -(WINDOW_BITS + STALE_RANGE)) {
      this.#bits.fill(0);
    } else if (ahead > 0) {
      for (let step = 1; step <= ahead; step++) this.#clear(this.#newest + step);
    } else if (ahead <= -WINDOW_BITS || this.#has(sequence)) {
      return false;
    }
    if (ahead > 0 || ahead < -(WINDOW_BITS + STALE_RANGE)) this.#newest = sequence;
    this.#set(sequence);
    return true;
  }

  #has(sequence: number): boolean {
    return (this.#bits[(sequence >>> 5) % WORDS]! & (1 << (sequence & 31))) !== 0;
  }

  #set(sequence: number): void {
    this.#bits[(sequence >>> 5) % WORDS]! |= 1 << (sequence & 31);
  }

  #clear(sequence: number): void {
    this.#bits[(sequence >>> 5) % WORDS]! &= ~(1 << (sequence & 31));
  }
}
