/** Batches over an open TLS connection: hot path, one copy out, none in. */
import type { Socket } from 'node:net';
import { describeError } from '../base/errors.ts';
import { HEADER_BYTES } from '../net/batch.ts';
import type { BatchHandler, Wire } from '../net/wire.ts';
import { readInto } from '../base/slab-reader.ts';
import { createQueueLimit } from './queue-limit.ts';

/*
 * On the stream: [length u32][batch], repeated. A length of 0 is the last word, so that an end that was meant can be told from one
 * that was not.
 */
const PREFIX_BYTES = 4;
/** A frame of 65,000 bytes fits, and a whole read of 128 KiB; the same as a data channel takes, so that no batch fits one wire alone. */
const MAX_BATCH = 262_144;
/** Beyond this we refuse, on slow paths before: ours and what is being written, together. The kernel holds up to 4 MiB more on a fast one (tcp_wmem). */
const MAX_QUEUED_BYTES = 1_048_576;
/** Grows to what is needed: most links of a LAN are idle. */
const FIRST_SLAB_BYTES = 16_384;
/** The largest batch and its prefix, and as much again, so that what is left of one is seldom moved to the front. */
const READ_SLAB_BYTES = 2 * (PREFIX_BYTES + MAX_BATCH);
/** One TLS record: with less room than this left at the end, what is left goes to the front. */
const RECORD_BYTES = 16_384;
/** A peer that does not read our last word will not read it later either. */
const LINGER_MS = 500;

export function openStream(options: {
  /** Connected and authenticated; it is ours from now on. */
  readonly socket: Socket;
  readonly onBatch: BatchHandler;
}): Wire & { close(reason: string): Promise<void> } {
  const { socket, onBatch } = options;
  const closed = Promise.withResolvers<string>();
  const gone = Promise.withResolvers<void>();
  let open = true;
  let sentBytes = 0;
  let receivedBytes = 0;
  let drops = 0;

  /*
   * Two slabs take turns: one is being written while batches are appended to the other. Whatever is sent within one turn of the
   * event loop leaves in one write, which is one call of TLS and, as a rule, one of the kernel.
   */
  let filling: Buffer = Buffer.alloc(0);
  let spare: Buffer = Buffer.alloc(0);
  let filled = 0;
  let writing = 0;
  let scheduled = false;
  let since = 0;
  const limit = createQueueLimit(MAX_QUEUED_BYTES);

  function append(batch: Uint8Array): void {
    const end = filled + PREFIX_BYTES + batch.length;
    if (end > filling.length) {
      const size = Math.min(Math.max(end, 2 * filling.length, FIRST_SLAB_BYTES), MAX_QUEUED_BYTES);
      const larger = Buffer.allocUnsafeSlow(size);
      larger.set(filling.subarray(0, filled));
      filling = larger;
    }
    filling.writeUInt32BE(batch.length, filled);
    filling.set(batch, filled + PREFIX_BYTES);
    filled = end;
  }

  function flush(): void {
    scheduled = false;
    if (!open || filled === 0 || writing > 0) return;
    const full = filling;
    writing = filled;
    filling = spare;
    spare = full;
    filled = 0;
    since = performance.now();
    socket.write(full.subarray(0, writing), written);
  }

  function written(error?: Error | null): void {
    limit.wrote(writing, performance.now() - since);
    writing = 0;
    if (!error) flush();
  }

  let slab: Buffer = Buffer.alloc(0);
  let start = 0;
  let end = 0;

  /** Where the next bytes go. */
  function room(): Uint8Array {
    if (slab.length === 0) slab = Buffer.allocUnsafeSlow(READ_SLAB_BYTES);
    if (slab.length - end < RECORD_BYTES) {
      slab.copyWithin(0, start, end);
      end -= start;
      start = 0;
    }
    return slab.subarray(end);
  }

  /** So many have arrived there. */
  function arrived(count: number): void {
    end += count;
    while (open && end - start >= PREFIX_BYTES) {
      const length = slab.readUInt32BE(start);
      if (length === 0) return finish('closed by the peer');
      if (length < HEADER_BYTES || length > MAX_BATCH) {
        return finish(`the peer sent a length of ${length} bytes, which no batch has`);
      }
      const next = start + PREFIX_BYTES + length;
      if (next > end) break;
      receivedBytes += length;
      onBatch(slab.subarray(start + PREFIX_BYTES, next));
      start = next;
    }
    // What comes after the end is nobody's, but there has to be room for it: TLS asks again and again for room that is empty.
    if (start === end || !open) start = end = 0;
  }

  /** The first reason wins. What is still queued is lost. */
  function finish(reason: string): void {
    if (!open) return;
    open = false;
    filled = 0;
    closed.resolve(reason);
    const linger = setTimeout(() => socket.destroy(), LINGER_MS);
    void gone.promise.then(() => clearTimeout(linger));
    socket.end(Buffer.alloc(PREFIX_BYTES));
  }

  socket.on('error', (error) => finish(`the connection was lost: ${describeError(error)}`));
  socket.on('end', () => finish('the connection was lost: it ended without a last word'));
  const lost = (): void => {
    finish('the connection was lost');
    filling = spare = slab = Buffer.alloc(0);
    gone.resolve();
  };
  socket.on('close', lost);
  if (socket.closed) lost(); // before it was ours: nobody will tell us
  // In a later turn: whoever opened this wire has it in hand before its first batch.
  setImmediate(() => readInto(socket, { room, arrived }));

  return {
    rung: 'direct',
    maxBatch: MAX_BATCH,
    send(batch) {
      const { length } = batch;
      const waiting = filled + writing;
      if (
        !open ||
        length > MAX_BATCH ||
        length < HEADER_BYTES ||
        // The largest batch, too, passes where nothing waits.
        (waiting > 0 && waiting + PREFIX_BYTES + length > limit.bytes)
      ) {
        drops++;
        return false;
      }
      append(batch);
      sentBytes += length;
      if (!scheduled && writing === 0) {
        scheduled = true;
        setImmediate(flush);
      }
      return true;
    },
    stats: () => ({ sentBytes, receivedBytes, drops, queuedBytes: filled + writing }),
    closed: closed.promise,
    async close(reason) {
      finish(reason);
      await gone.promise;
    },
    async [Symbol.asyncDispose]() {
      finish('closed by us');
      await gone.promise;
    },
  };
}
