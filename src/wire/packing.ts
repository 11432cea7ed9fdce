/** What one WebRTC message holds: batches that left together, or a word between the two ends of the wire. */
import { u32At } from '../net/bytes.ts';
import type { Batch } from '../net/wire.ts';

/*
 *   DATA      | 0 | length u32 | batch | length u32 | batch ...
 *   RECEIVED  | 1 | u32: bytes of DATA messages that were read here, modulo 2^32
 *   PROBE     | 2 | as many bytes as it takes to fill the largest packet
 *   PROBED    | 3 |
 *
 * SCTP pays for each message and for each packet that is not full: 64 KiB of single frames cost 2.4 times the CPU of one message
 * of that size (test/bench/webrtc.ts).
 */
const DATA = 0;
const RECEIVED = 1;
const PROBE = 2;
const PROBED = 3;

const PREFIX_BYTES = 4;
/** What a batch costs in a message beyond its own bytes, at most. */
export const PACKING_BYTES = 1 + PREFIX_BYTES;
/** A message that has grown to this is closed: larger ones gain nothing and make those behind them wait. */
export const MESSAGE_BYTES = 65_536;
/** A read of 64 KiB with its header fits behind what already waits. */
const SLAB_BYTES = 2 * MESSAGE_BYTES;
/** Slabs that are kept for the next time. */
const SPARE_SLABS = 4;

interface Slab {
  readonly bytes: Uint8Array;
  length: number;
}

export interface Packer {
  /** Copies the batch behind those that wait. */
  add(batch: Batch): void;
  /** Bytes that wait, framing included. */
  readonly bytes: number;
  /** Hands over the next message; it is the caller's until the next call of anything here. */
  take(): Uint8Array | undefined;
}

export function createPacker(): Packer {
  const spare: Slab[] = [];
  const slabs: Slab[] = [];
  let taken: Slab | undefined;
  let bytes = 0;

  const fresh = (size: number): Slab => {
    const slab = size <= SLAB_BYTES ? spare.pop() : undefined;
    return slab ?? { bytes: new Uint8Array(Math.max(size, SLAB_BYTES)), length: 0 };
  };

  return {
    add(batch) {
      const size = PREFIX_BYTES + batch.length;
      let slab = slabs.at(-1);
      if (!slab || slab.length >= MESSAGE_BYTES || slab.length + size > slab.bytes.length) {
        slab = fresh(1 + size);
        slab.bytes[0] = DATA;
        slab.length = 1;
        bytes += 1;
        slabs.push(slab);
      }
      putU32(slab.bytes, slab.length, batch.length);
      slab.bytes.set(batch, slab.length + PREFIX_BYTES);
      slab.length += size;
      bytes += size;
    },
    get bytes() {
      return bytes;
    },
    take() {
      if (taken && taken.bytes.length === SLAB_BYTES && spare.length < SPARE_SLABS) spare.push(taken);
      taken = slabs.shift();
      if (!taken) return undefined;
      bytes -= taken.length;
      return taken.bytes.subarray(0, taken.length);
    },
  };
}

export interface MessageHandlers {
  readonly onBatch: (batch: Batch) => void;
  readonly onReceived: (total: number) => void;
  readonly onProbe: () => void;
  readonly onProbed: () => void;
}

/** False: the peer sent what none of ours sends; batches in front of the fault were handed out. */
export function readMessage(message: Uint8Array, handlers: MessageHandlers): boolean {
  const kind = message[0];
  if (kind === DATA) return readBatches(message, handlers.onBatch);
  if (kind === RECEIVED && message.length === PACKING_BYTES) handlers.onReceived(u32At(message, 1));
  else if (kind === PROBE) handlers.onProbe();
  else if (kind === PROBED) handlers.onProbed();
  else return false;
  return true;
}

export const isData = (message: Uint8Array): boolean => message[0] === DATA;

/** Hot path. */
function readBatches(message: Uint8Array, onBatch: (batch: Batch) => void): boolean {
  let at = 1;
  while (at + PREFIX_BYTES < message.length) {
    const start = at + PREFIX_BYTES;
    const end = start + u32At(message, at);
    if (end > message.length || end === start) return false;
    onBatch(message.subarray(start, end));
    at = end;
  }
  return at === message.length;
}

export function receivedMessage(total: number): Uint8Array {
  const message = new Uint8Array(PACKING_BYTES);
  message[0] = RECEIVED;
  putU32(message, 1, total);
  return message;
}

export const probeMessage = (bytes: number): Uint8Array => {
  const message = new Uint8Array(bytes);
  message[0] = PROBE;
  return message;
};

export const probedMessage = (): Uint8Array => Uint8Array.of(PROBED);

function putU32(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
}
