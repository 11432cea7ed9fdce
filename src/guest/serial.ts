/** The guest's console: the newest output under a size cap, addressed by offsets that never change, and the keyboard. */
import type { Duplex } from 'node:stream';

export interface SerialPage {
  readonly data: Buffer;
  /** Of the first byte of `data`: larger than asked for when the older output is gone. */
  readonly offset: number;
  /** Bytes that the guest ever wrote. */
  readonly total: number;
}

export interface SerialLog {
  append(bytes: Uint8Array): void;
  read(offset: number, max: number): SerialPage;
}

export interface Serial {
  read(offset: number, max: number): SerialPage;
  /** False when the guest does not read what is typed and the buffer is full. */
  type(bytes: Uint8Array): boolean;
  /** Calls back with what was printed so far, then with each new piece and a little before it; ends when it returns true. */
  watch(see: (text: string) => boolean): () => void;
}

/** A noisy boot is 40 kB; this holds one and a long session after it. */
const LOG_BYTES = 256 * 1024;
/** Typed but not yet taken by the guest's 16-byte FIFO: a pasted script fits, a stuck guest costs no more. */
const TYPE_AHEAD_BYTES = 64 * 1024;

/** So that a watcher finds a phrase that two reads have split. */
const OVERLAP_BYTES = 256;

/** A ring: constant memory however much the guest prints. */
export function createSerialLog(capacity: number = LOG_BYTES): SerialLog {
  const ring = Buffer.alloc(capacity);
  let total = 0;
  return {
    append(bytes) {
      const kept = bytes.length > capacity ? bytes.subarray(bytes.length - capacity) : bytes;
      const start = (total + bytes.length - kept.length) % capacity;
      const first = Math.min(kept.length, capacity - start);
      ring.set(kept.subarray(0, first), start);
      ring.set(kept.subarray(first), 0);
      total += bytes.length;
    },
    read(offset, max) {
      const oldest = Math.max(0, total - capacity);
      const from = Math.min(Math.max(Math.trunc(offset) || 0, oldest), total);
      const length = Math.max(0, Math.min(Math.trunc(max) || 0, total - from));
      const start = from % capacity;
      const first = Math.min(length, capacity - start);
      const data = Buffer.concat([ring.subarray(start, start + first), ring.subarray(0, length - first)]);
      return { data, offset: from, total };
    },
  };
}

/** Keeps reading for ever: a console that nobody reads would stop the guest's printk. */
export function openSerial(stream: Duplex): Serial {
  const log = createSerialLog();
  const watchers = new Set<(text: string) => boolean>();
  const tail = (bytes: number): string => {
    const { total } = log.read(0, 0);
    return log.read(Math.max(0, total - bytes), bytes).data.toString('latin1');
  };
  stream.on('data', (chunk: Buffer) => {
    log.append(chunk);
    if (watchers.size === 0) return;
    const seen = tail(chunk.length + OVERLAP_BYTES);
    for (const see of watchers) if (see(seen)) watchers.delete(see);
  });
  stream.on('error', () => {}); // ends with QEMU, whose exit is reported elsewhere
  return {
    read: (offset, max) => log.read(offset, max),
    type(bytes) {
      if (stream.destroyed || stream.writableLength + bytes.length > TYPE_AHEAD_BYTES) return false;
      stream.write(Buffer.from(bytes));
      return true;
    },
    watch(see) {
      if (!see(tail(LOG_BYTES))) watchers.add(see);
      return () => watchers.delete(see);
    },
  };
}
