/** A bounded queue that drops its oldest entry when full and counts what it dropped: one slow reader never costs unbounded memory. */

export class BoundedQueue<T> {
  #items: (T | undefined)[] = [];
  #head = 0;
  #bytes = 0;
  #dropped = 0;
  readonly #maxBytes: number;
  readonly #sizeOf: (item: T) => number;

  constructor(maxBytes: number, sizeOf: (item: T) => number) {
    this.#maxBytes = maxBytes;
    this.#sizeOf = sizeOf;
  }

  get length(): number {
    return this.#items.length - this.#head;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get dropped(): number {
    return this.#dropped;
  }

  /** False when the item alone is larger than the queue: it is dropped and counted. */
  push(item: T): boolean {
    const size = this.#sizeOf(item);
    if (size > this.#maxBytes) {
      this.#dropped++;
      return false;
    }
    while (this.#bytes + size > this.#maxBytes && this.shift() !== undefined) this.#dropped++;
    this.#items.push(item);
    this.#bytes += size;
    return true;
  }

  peek(): T | undefined {
    return this.#items[this.#head];
  }

  shift(): T | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#items[this.#head++] = undefined; // or what was shifted stays in memory until the next compaction
    this.#bytes -= this.#sizeOf(item);
    if (this.#head > 64 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  clear(): void {
    this.#items = [];
    this.#head = 0;
    this.#bytes = 0;
  }
}
