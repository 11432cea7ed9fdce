/** Counters of one sender that were taken already: the sliding window of IPsec (RFC 4303, 3.4.3), as a ring of bits. */

/** How far a late message may lag behind the newest one. Requests overtake each other by far less. */
const WINDOW = 1024;

export class CounterWindow {
  /** Messages of up to this time by the sender's clock are no longer told apart, and refused. */
  readonly floor: number;
  readonly #bits = new Uint32Array(WINDOW / 32);
  #highest = 0;

  constructor(floor = 0) {
    this.floor = floor;
  }

  /** Pure look: may this one still come? */
  fresh(counter: number): boolean {
    return counter > this.#highest || (counter > this.#highest - WINDOW && !this.#has(counter % WINDOW));
  }

  /** Only what is fresh. */
  take(counter: number): void {
    if (counter > this.#highest) {
      if (counter - this.#highest >= WINDOW) this.#bits.fill(0);
      else for (let next = this.#highest + 1; next < counter; next++) this.#clear(next % WINDOW);
      this.#highest = counter;
    }
    const at = counter % WINDOW;
    this.#bits[at >>> 5]! |= 1 << (at & 31);
  }

  #has(at: number): boolean {
    return (this.#bits[at >>> 5]! & (1 << (at & 31))) !== 0;
  }

  #clear(at: number): void {
    this.#bits[at >>> 5]! &= ~(1 << (at & 31));
  }
}
