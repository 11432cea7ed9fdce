/** Which stanza goes next and when: a token bucket in wire bytes, control before frames. Pure but for the time it is given. */
import { BoundedQueue } from '../base/queue.ts';

export type Priority = 'control' | 'frames';

interface Entry<T> {
  readonly item: T;
  readonly bytes: number;
}

export interface PacerOptions {
  /** The server's limit per connection. */
  readonly bytesPerSecond: number;
  readonly now: () => number;
}

/** Share of the limit that we use. At 80 % signalling waits 0.3 s behind frames, at 95 % 0.7 s, above it seconds (measured, Prosody). */
const SHARE = 0.85;
/** Frames may save up this much: Prosody 0.12 itself has no burst at all. */
const BURST_SECONDS = 0.25;
/** Control may borrow this much ahead, so that it never waits for the bucket that frames keep empty. */
const RESERVE_SECONDS = 1;
/** Control is refused beyond this, so that a silent server does not cost unbounded memory. */
export const MAX_CONTROL_BYTES = 1_048_576;
/** Frames older than half a second of the line are not worth sending; one full stanza must fit. */
const FRAMES_SECONDS = 0.5;
const MIN_FRAMES_BYTES = 20_000;

export class Pacer<T> {
  readonly #now: () => number;
  /** Bytes per millisecond. */
  #rate = 0;
  #burst = 0;
  #reserve = 0;
  readonly #frames: BoundedQueue<Entry<T>>;
  #control: Entry<T>[] = [];
  #controlBytes = 0;
  #level: number;
  #at: number;

  constructor(options: PacerOptions) {
    this.#now = options.now;
    this.#at = this.#now();
    this.#level = 0;
    this.setRate(options.bytesPerSecond);
    const enough = options.bytesPerSecond * SHARE * FRAMES_SECONDS;
    this.#frames = new BoundedQueue(Math.max(MIN_FRAMES_BYTES, enough), (entry) => entry.bytes);
    this.#level = this.#burst;
  }

  /** The server's limit turned out to be another one. */
  setRate(bytesPerSecond: number): void {
    this.#refill();
    const perSecond = bytesPerSecond * SHARE;
    this.#rate = perSecond / 1000;
    this.#burst = perSecond * BURST_SECONDS;
    this.#reserve = perSecond * RESERVE_SECONDS;
  }

  /** Frames that were thrown away because newer ones came. */
  get drops(): number {
    return this.#frames.dropped;
  }

  get controlQueued(): number {
    return this.#control.length;
  }

  get framesQueued(): number {
    return this.#frames.length;
  }

  /** False: not queued. Control is refused when its queue is full; frames push out the oldest. */
  push(item: T, bytes: number, priority: Priority): boolean {
    if (priority === 'frames') return this.#frames.push({ item, bytes });
    if (this.#controlBytes + bytes > MAX_CONTROL_BYTES) return false;
    this.#control.push({ item, bytes });
    this.#controlBytes += bytes;
    return true;
  }

  /** The next item that may go now, control first. */
  take(allow: {
    readonly control: boolean;
    readonly frames: boolean;
  }): (Entry<T> & { readonly priority: Priority }) | undefined {
    this.#refill();
    if (this.#control.length > 0) {
      // Frames never overtake control, not even control that has to wait.
      if (!allow.control || this.#level <= -this.#reserve) return undefined;
      const entry = this.#control.shift();
      if (!entry) return undefined;
      this.#controlBytes -= entry.bytes;
      this.charge(entry.bytes);
      return { ...entry, priority: 'control' };
    }
    if (!allow.frames || this.#level <= 0) return undefined;
    const entry = this.#frames.shift();
    if (!entry) return undefined;
    this.charge(entry.bytes);
    return { ...entry, priority: 'frames' };
  }

  /** Takes tokens for bytes that were written past the queue. */
  charge(bytes: number): void {
    this.#level -= bytes;
  }

  /** True when a frame pushed now would go at once, as far as the pace goes. */
  get framesReady(): boolean {
    this.#refill();
    return this.#level > 0 && this.#control.length === 0 && this.#frames.length === 0;
  }

  /** Milliseconds until tokens allow the next item: control if some waits, else frames. */
  waitMs(): number {
    this.#refill();
    const needed = this.#control.length > 0 ? -this.#reserve : 0;
    return this.#level > needed ? 0 : (needed - this.#level) / this.#rate + 1;
  }

  /** Empties the control queue and hands out what was in it. */
  drainControl(): T[] {
    const items = this.#control.map((entry) => entry.item);
    this.#control = [];
    this.#controlBytes = 0;
    return items;
  }

  /** Returns how many were thrown away. */
  clearFrames(): number {
    const count = this.#frames.length;
    this.#frames.clear();
    return count;
  }

  #refill(): void {
    const now = this.#now();
    this.#level = Math.min(this.#burst, this.#level + (now - this.#at) * this.#rate);
    this.#at = now;
  }
}
