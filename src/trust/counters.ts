/** Counters of one sender that were taken already: the sliding window of IPsec (RFC 4303, 3.4.3), as a set. */

/** How far a late message may lag behind the newest one. Requests overtake each other by far less. */
const WINDOW = 1024;

export class CounterWindow {
  readonly #taken = new Set<number>();
  #highest = 0;

  /** Pure look: may this one still come? */
  fresh(counter: number): boolean {
    return counter > this.#highest - WINDOW && !this.#taken.has(counter);
  }

  take(counter: number): void {
    this.#taken.add(counter);
    if (counter <= this.#highest) return;
    this.#highest = counter;
    for (const old of this.#taken) if (old <= counter - WINDOW) this.#taken.delete(old);
  }
}
