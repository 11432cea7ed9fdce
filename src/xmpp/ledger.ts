/** Stream management bookkeeping (XEP-0198), pure: what the server has not confirmed yet, and how much we got from it. */

/** Counters wrap at 2^32 (XEP-0198 section 4). */
const WRAP = 2 ** 32;

export class Ledger<T> {
  #entries: { readonly item: T; readonly bytes: number }[] = [];
  #confirmed = 0;
  #inbound = 0;
  #bytes = 0;

  /** Stanzas that we handled; every stanza counts, whoever consumes it. */
  get inbound(): number {
    return this.#inbound;
  }

  get unconfirmed(): number {
    return this.#entries.length;
  }

  get unconfirmedBytes(): number {
    return this.#bytes;
  }

  received(): void {
    this.#inbound = (this.#inbound + 1) % WRAP;
  }

  sent(item: T, bytes: number): void {
    this.#entries.push({ item, bytes });
    this.#bytes += bytes;
  }

  /** The server says that it handled `h` stanzas of ours. False: it cannot have, the stream is beyond repair. */
  confirm(h: string | undefined): boolean {
    if (!h || !/^\d{1,10}$/.test(h)) return false;
    const count = (Number(h) - this.#confirmed + WRAP) % WRAP;
    if (Number(h) >= WRAP || count > this.#entries.length) return false;
    for (const entry of this.#entries.splice(0, count)) this.#bytes -= entry.bytes;
    this.#confirmed = Number(h);
    return true;
  }

  /** What a resumed stream must carry again, oldest first; it stays unconfirmed. */
  pending(): readonly T[] {
    return this.#entries.map((entry) => entry.item);
  }

  /** A new stream begins. Returns the stanzas whose fate nobody knows. */
  reset(): T[] {
    const lost = this.#entries.map((entry) => entry.item);
    this.#entries = [];
    this.#bytes = 0;
    this.#confirmed = 0;
    this.#inbound = 0;
    return lost;
  }
}
