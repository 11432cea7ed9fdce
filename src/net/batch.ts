/** What travels on a wire: one 16-byte header, then a run of frames exactly as QEMU framed them. */
import { u16At, u32At } from './bytes.ts';
import type { Run } from './port.ts';
import type { Batch } from './wire.ts';

/*
 *  0        1        2        4        6        8        10       12            16
 *  | ver|type | ttl | source | dest   | lan    | epoch  | flags  | sequence u32 | run…
 *
 * All numbers are big-endian, like QEMU's length prefix. Only the last hop looks behind the header.
 */
export const HEADER_BYTES = 16;
/** Destination of a flood: every node of the LAN. */
export const FLOOD = 0xffff;
/** Ethernet header without a payload; anything shorter is not a frame. */
export const MIN_FRAME_BYTES = 14;
/** QEMU's NET_BUFSIZE (include/net/net.h). It ends the connection on a longer frame. */
export const MAX_FRAME_BYTES = 69_632;
/** QEMU's stream framing: 4-byte big-endian length in front of each frame (net/stream_data.c). */
export const LENGTH_BYTES = 4;

const VERSION = 1;
const TTL_AT = 1;
const SEQUENCE_AT = 12;

export const FRAMES = 0;
export const PROBE = 1;
export const PROBE_REPLY = 2;
/** Link state: what switches tell each other about their links (never looked at by the forwarding path). */
export const NOTE = 3;
export type BatchType = typeof FRAMES | typeof PROBE | typeof PROBE_REPLY | typeof NOTE;

export interface BatchHeader {
  readonly type: BatchType;
  /** Hops that are left, the next one included. */
  readonly ttl: number;
  readonly source: number;
  readonly destination: number;
  readonly lan: number;
  /** Revision of the plan, modulo 2^16, by which the source routed. */
  readonly epoch: number;
  readonly flags: number;
  readonly sequence: number;
}

/** Writes the header into the first 16 bytes of `into`. */
export function writeHeader(into: Uint8Array, header: BatchHeader): void {
  into[0] = (VERSION << 4) | header.type;
  into[TTL_AT] = header.ttl;
  put16(into, 2, header.source);
  put16(into, 4, header.destination);
  put16(into, 6, header.lan);
  put16(into, 8, header.epoch);
  put16(into, 10, header.flags);
  writeSequence(into, header.sequence);
}

function writeSequence(batch: Uint8Array, sequence: number): void {
  put16(batch, SEQUENCE_AT, sequence >>> 16);
  put16(batch, SEQUENCE_AT + 2, sequence & 0xffff);
}

export const writeTtl = (batch: Uint8Array, ttl: number): void => {
  batch[TTL_AT] = ttl;
};

/** A batch of its own memory. The switch writes headers into a buffer that it keeps instead. */
export function encodeBatch(header: BatchHeader, run: Run = new Uint8Array(0)): Batch {
  const batch = new Uint8Array(HEADER_BYTES + run.length);
  writeHeader(batch, header);
  batch.set(run, HEADER_BYTES);
  return batch;
}

/** The header, or undefined when this is not a batch of our version. */
export function decodeHeader(batch: Batch): BatchHeader | undefined {
  if (batch.length < HEADER_BYTES) return undefined;
  const first = batch[0]!;
  const type = first & 0x0f;
  if (first >> 4 !== VERSION || type > NOTE) return undefined;
  return {
    type: type as BatchType,
    ttl: batch[TTL_AT]!,
    source: u16At(batch, 2),
    destination: u16At(batch, 4),
    lan: u16At(batch, 6),
    epoch: u16At(batch, 8),
    flags: u16At(batch, 10),
    sequence: u32At(batch, SEQUENCE_AT),
  };
}

/** The run behind the header: a view, no copy. */
export const runOf = (batch: Batch): Run => batch.subarray(HEADER_BYTES);

/** Each frame of a run as a view, without its length. Stops at the first thing that is not a whole frame. */
export function* frames(run: Run): Generator<Uint8Array, void, undefined> {
  for (let at = 0, end = nextFrame(run, 0); end !== 0; at = end, end = nextFrame(run, at)) {
    yield run.subarray(at + LENGTH_BYTES, end);
  }
}

/** True when the run is not empty and holds nothing but whole frames of legal length. */
export function checkRun(run: Run): boolean {
  let at = 0;
  for (let end = nextFrame(run, 0); end !== 0; end = nextFrame(run, at)) at = end;
  return at === run.length && at > 0;
}

/** Where the frame that starts at `at` ends; 0 when there is no whole, legal frame. */
export function nextFrame(run: Run, at: number): number {
  if (at + LENGTH_BYTES > run.length) return 0;
  const length = u32At(run, at);
  const end = at + LENGTH_BYTES + length;
  return length < MIN_FRAME_BYTES || length > MAX_FRAME_BYTES || end > run.length ? 0 : end;
}

/** Frames as one run, for tests and for frames that we make ourselves. */
export function encodeRun(list: readonly Uint8Array[]): Run {
  const run = new Uint8Array(list.reduce((sum, frame) => sum + LENGTH_BYTES + frame.length, 0));
  let at = 0;
  for (const frame of list) {
    put16(run, at, frame.length >>> 16);
    put16(run, at + 2, frame.length & 0xffff);
    run.set(frame, at + LENGTH_BYTES);
    at += LENGTH_BYTES + frame.length;
  }
  return run;
}

function put16(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 8;
  into[at + 1] = value;
}
