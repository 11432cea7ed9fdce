/** A second connection for image bytes: reliable, as fast as the receiver reads, and never more than a window in memory. */
import { setTimeout } from 'node:timers/promises';
import { KithError } from '../base/errors.ts';
import { connectRtc, type RtcOptions } from './rtc.ts';

export type BlobOptions = RtcOptions;

/** One stream of bytes in each direction. */
export interface Blob extends AsyncDisposable {
  /** Resolves when the bytes are on their way and there is room for more; until then `chunk` must stay as it is. Not to be called twice at a time. */
  send(chunk: Uint8Array): Promise<void>;
  /** What the other end sends, in pieces of up to 64 KiB that are the reader's own. To be iterated once. Throws when the stream was cut. */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** No more from us. Resolves when the other end has read all of it, so that disposing afterwards loses nothing. */
  end(): Promise<void>;
  /** Resolves with the reason. Never rejects. */
  readonly closed: Promise<string>;
}

/*
 * A message is one byte for its kind and the rest. SCTP alone cannot hold a sender back: the library hands every message to us
 * at once, read or not. So the reader grants bytes, and the sender spends no more than it was granted.
 */
const DATA = 0;
/** u32: the reader has taken this many bytes more. */
const CREDIT = 1;
const END = 2;
/** The reader has taken everything up to END. */
const READ_ALL = 3;

const PIECE_BYTES = 65_535;
/** Granted from the start: covers a round trip of 80 ms at 400 Mbit/s. */
const WINDOW_BYTES = 4_194_304;
/** Credit goes back in steps of this size. */
const CREDIT_STEP = WINDOW_BYTES / 8;
/** Charged for each message on top of its bytes: a flood of tiny ones must not cost more memory than the window says. */
const PIECE_COST = 256;
/** How long a reader that is done waits for the sender to close first. */
const LINGER_MS = 1000;
/** Handed to the library ahead of the network; the rest of the window waits as a promise instead of as a copy. */
const HIGH_WATER = 1_048_576;
const LOW_WATER = 262_144;

export async function openBlob(options: BlobOptions): Promise<Blob> {
  const inbox = createInbox();
  const outbox = createOutbox();
  const channel = await connectRtc(options, {
    lowBytes: LOW_WATER,
    onLow: () => outbox.wake(),
    onMessage(message) {
      const [kind] = message;
      if (kind === DATA) inbox.add(message.subarray(1));
      else if (kind === END) inbox.end();
      else if (kind === CREDIT && message.length === 5) outbox.grant(readU32(message));
      else if (kind === READ_ALL) outbox.allRead();
      else throw new KithError({ code: 'wire.blob-message', message: 'this is not a blob message', retry: 'never' });
    },
  });
  const closed = channel.closed.then((reason) => {
    inbox.cut(reason);
    outbox.cut(reason);
    return reason;
  });
  const pieceBytes = Math.min(PIECE_BYTES, channel.maxMessage - 1);
  if (pieceBytes < 1) {
    await channel[Symbol.asyncDispose]();
    throw new KithError({ code: 'wire.dial-failed', message: 'the peer takes no messages', retry: 'never' });
  }
  const piece = new Uint8Array(1 + pieceBytes);
  return {
    async send(chunk) {
      for (let at = 0; at < chunk.length; at += pieceBytes) {
        const part = chunk.subarray(at, at + pieceBytes);
        await outbox.room(part.length + PIECE_COST, () => channel.buffered() < HIGH_WATER);
        piece[0] = DATA;
        piece.set(part, 1);
        if (!channel.send(piece.subarray(0, 1 + part.length))) throw cut('closed');
      }
    },
    chunks: { [Symbol.asyncIterator]: () => inbox.read((message) => channel.send(message)) },
    async end() {
      if (!channel.send(Uint8Array.of(END))) throw cut('closed');
      await outbox.drained();
    },
    closed,
    async [Symbol.asyncDispose]() {
      // Closing throws away what is still under way; our last word is the one that lets the sender's end() succeed.
      if (inbox.answered()) await Promise.race([closed, setTimeout(LINGER_MS, undefined, { ref: false })]);
      await channel[Symbol.asyncDispose]();
    },
  };
}

interface Inbox {
  add(piece: Uint8Array): void;
  end(): void;
  cut(reason: string): void;
  /** True once the reader has taken everything. */
  answered(): boolean;
  read(reply: (message: Uint8Array) => void): AsyncGenerator<Uint8Array, void, undefined>;
}

function createInbox(): Inbox {
  const pieces: Uint8Array[] = [];
  let held = 0;
  let ended = false;
  let answered = false;
  let failure: string | undefined;
  let wake = () => {};
  return {
    add(piece) {
      held += piece.length + PIECE_COST;
      if (ended || held > WINDOW_BYTES) {
        throw new KithError({
          code: 'wire.blob-window',
          message: 'the peer sent more than it was granted',
          retry: 'never',
        });
      }
      pieces.push(piece);
      wake();
    },
    end() {
      ended = true;
      wake();
    },
    cut(reason) {
      failure = reason;
      wake();
    },
    answered: () => answered,
    async *read(reply) {
      let owed = 0;
      for (;;) {
        for (const piece of pieces.splice(0)) {
          yield piece;
          // Only now: it was read, not just looked at.
          held -= piece.length + PIECE_COST;
          owed += piece.length + PIECE_COST;
          if (owed < CREDIT_STEP) continue;
          reply(creditMessage(owed));
          owed = 0;
        }
        if (pieces.length > 0) continue;
        if (ended) {
          answered = true;
          return reply(Uint8Array.of(READ_ALL));
        }
        if (failure !== undefined) throw cut(failure);
        const { promise, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        await promise;
      }
    },
  };
}

interface Outbox {
  wake(): void;
  grant(bytes: number): void;
  allRead(): void;
  cut(reason: string): void;
  /** Takes `bytes` from the credit once there is enough of it and `roomy` agrees. */
  room(bytes: number, roomy: () => boolean): Promise<void>;
  drained(): Promise<void>;
}

function createOutbox(): Outbox {
  let credit = WINDOW_BYTES;
  let read = false;
  let failure: string | undefined;
  const waiters = new Set<() => void>();
  const wake = () => {
    for (const waiter of waiters) waiter();
    waiters.clear();
  };
  const until = async (condition: () => boolean) => {
    while (!condition()) {
      if (failure !== undefined) throw cut(failure);
      const { promise, resolve } = Promise.withResolvers<void>();
      waiters.add(resolve);
      await promise;
    }
  };
  return {
    wake,
    grant(bytes) {
      // A reader that grants too much only hurts itself.
      credit = Math.min(credit + bytes, WINDOW_BYTES);
      wake();
    },
    allRead() {
      read = true;
      wake();
    },
    cut(reason) {
      failure = reason;
      wake();
    },
    async room(bytes, roomy) {
      await until(() => failure === undefined && credit >= bytes && roomy());
      credit -= bytes;
    },
    drained: () => until(() => read),
  };
}

function creditMessage(bytes: number): Uint8Array {
  return Uint8Array.of(CREDIT, bytes >>> 24, bytes >>> 16, bytes >>> 8, bytes);
}

function readU32(message: Uint8Array): number {
  return ((message[1]! << 24) | (message[2]! << 16) | (message[3]! << 8) | message[4]!) >>> 0;
}

function cut(reason: string): KithError {
  return new KithError({
    code: 'wire.blob-cut',
    message: `the transfer was cut: ${reason}`,
    hint: 'try again',
    retry: 'later',
  });
}
