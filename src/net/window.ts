/** Have we seen this batch already? A sliding window of sequence numbers for each life of a source. */

/**
 * Batches of one source take several wires while a link climbs or descends, so some are late by as much as the other wire sends in
 * the meantime. As many numbers as WireGuard remembers (COUNTER_BITS_TOTAL); 1 KiB for each source that is heard.
 */
export const WINDOW_BITS = 8192;

/**
 * Nothing is this late. What seems to be comes from a source that drew the same life twice: with both lives that a window knows and
 * a random first number, one in 32,768 times 2,048 starts would otherwise not be heard for long.
 */
export const STALE_RANGE = 2 ** 20;

const WORD_BITS = 32;
const WORDS = WINDOW_BITS / WORD_BITS;

/**
 * One life's numbers. A block of 32 is forgotten at once when the window comes to it again (RFC 6479), so up to 31 of the oldest
 * count as seen although they are still in reach.
 */
class Window {
  readonly #bits = new Uint32Array(WORDS);
  #newest: number;

  constructor(first: number) {
    this.#newest = first;
  }

  /** Compared by serial number arithmetic (RFC 1982), so wrapping is no event. */
  accept(sequence: number): boolean {
    const ahead = (sequence - this.#newest) | 0;
    if (ahead > 0 || ahead < -STALE_RANGE) this.#slide(sequence, ahead);
    else if (ahead <= WORD_BITS - WINDOW_BITS) return false;
    const word = (sequence >>> 5) % WORDS;
    const bit = 1 << (sequence & 31);
    if ((this.#bits[word]! & bit) !== 0) return false;
    this.#bits[word]! |= bit;
    return true;
  }

  #slide(sequence: number, ahead: number): void {
    if (ahead < 0 || ahead > WINDOW_BITS - WORD_BITS) this.#bits.fill(0);
    else {
      const last = (sequence >>> 5) % WORDS;
      for (let word = (this.#newest >>> 5) % WORDS; word !== last;) this.#bits[(word = (word + 1) % WORDS)] = 0;
    }
    this.#newest = sequence;
  }
}

/**
 * The windows of one source: of the life that it leads and of the one before, whose last batches may still be under way on a slower
 * wire. They belong to the source and to nothing else: neither a new plan nor a new path makes a batch new.
 */
export class DuplicateWindow {
  #life = -1;
  #window: Window | undefined;
  #lastLife = -1;
  #lastWindow: Window | undefined;

  /** True once for each sequence number of a life. A source that starts again draws another life and is heard at once. */
  accept(life: number, sequence: number): boolean {
    if (life === this.#life) return this.#window!.accept(sequence);
    if (life === this.#lastLife) return this.#lastWindow!.accept(sequence);
    this.#lastLife = this.#life;
    this.#lastWindow = this.#window;
    this.#life = life;
    this.#window = new Window(sequence);
    return this.#window.accept(sequence);
  }
}
