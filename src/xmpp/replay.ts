/** Answers that were already given, so that a request that arrives twice runs once (at-least-once delivery). */

/** Enough for what can be unconfirmed at all senders of a job; the oldest go first. */
const MAX_ENTRIES = 1000;
const MAX_BYTES = 4 * 1_048_576;

export class ReplayCache {
  readonly #entries = new Map<string, { readonly reply: Promise<string>; bytes: number }>();
  #bytes = 0;

  get size(): number {
    return this.#entries.size;
  }

  /** Runs `make` for a new key; a known key gets the first run's answer, also while that still runs. `make` must not reject. */
  once(key: string, make: () => Promise<string>): Promise<string> {
    const known = this.#entries.get(key);
    if (known) return known.reply;
    const entry = { reply: make(), bytes: key.length };
    this.#entries.set(key, entry);
    this.#bytes += entry.bytes;
    this.#trim();
    void entry.reply.then((reply) => {
      if (this.#entries.get(key) !== entry) return false;
      entry.bytes += reply.length;
      this.#bytes += reply.length;
      this.#trim();
      return true;
    });
    return entry.reply;
  }

  #trim(): void {
    for (const [key, entry] of this.#entries) {
      if (this.#entries.size <= MAX_ENTRIES && this.#bytes <= MAX_BYTES) return;
      this.#entries.delete(key);
      this.#bytes -= entry.bytes;
    }
  }
}
