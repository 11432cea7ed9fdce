/** Frames of a tap as packet blocks that wait for whoever reads them, in bounded memory. */
import { enhancedPacket, packetBytes } from './pcapng.ts';
import type { Tap } from './tap.ts';

export interface Piece {
  /** Whole packet blocks. */
  readonly blocks: Uint8Array;
  /** Frames seen since the beginning, and how many of them found no room. */
  readonly received: number;
  readonly dropped: number;
}

export interface Recorder extends Disposable {
  /** Takes as many whole blocks as fit into `maxBytes`, oldest first. */
  take(maxBytes: number): Piece;
  /** There is at least so much. */
  isFull(maxBytes: number): boolean;
  /** Resolves when something waits, at once if it does. */
  readonly waiting: Promise<void>;
}

/** What a reader may be behind before frames are left out. */
const MAX_BYTES = 2 ** 20;

export function createRecorder(
  tap: Pick<Tap, 'watch'>,
  options: {
    /** Bytes of a frame that are kept. */
    readonly snapLength: number;
    /** Milliseconds since 1970, with a fraction. */
    readonly now: () => number;
  },
): Recorder {
  const { snapLength, now } = options;
  const queue: Uint8Array[] = [];
  let bytes = 0;
  let received = 0;
  let dropped = 0;
  let arrived = Promise.withResolvers<void>();

  const stop = tap.watch((frame, direction) => {
    received++;
    const data = frame.length > snapLength ? frame.subarray(0, snapLength) : frame;
    if (bytes + packetBytes(data.length) > MAX_BYTES) {
      dropped++;
      return;
    }
    const packet = enhancedPacket({ timeUs: Math.round(now() * 1000), direction, length: frame.length, data });
    queue.push(packet);
    bytes += packet.length;
    arrived.resolve();
  });

  return {
    take(maxBytes) {
      let size = 0;
      let count = 0;
      while (count < queue.length && size + queue[count]!.length <= maxBytes) size += queue[count++]!.length;
      const blocks = new Uint8Array(size);
      let at = 0;
      for (const packet of queue.splice(0, count)) {
        blocks.set(packet, at);
        at += packet.length;
      }
      bytes -= size;
      if (queue.length === 0) arrived = Promise.withResolvers<void>();
      return { blocks, received, dropped };
    },
    isFull: (maxBytes) => bytes >= maxBytes,
    get waiting() {
      return arrived.promise;
    },
    [Symbol.dispose]: stop,
  };
}
