/** What travels on a wire: one 16-byte header, then a run of frames exactly as QEMU framed them. */
import { u16At, u32At } from './bytes.ts';
import type { Run } from './port.ts';
import type { Batch } from './wire.ts';

/*
 *  0        1        2        4        6        8        10       12            16
 *  | ver|type | ttl | source | dest   | lan    | epoch  | life   | sequence u32 | run…
 *
 * All numbers are big-endian, like QEMU's length prefix. Only the last hop looks behind the header.
 */
export const HEADER_BYTES = 16;
/**
 * What every wire takes in one piece (the smallest, stanza, 12,000 bytes), header aside: floods and notes have one sequence number on
 * all of their ways, so they stay below it. Only a single larger frame makes a larger flood.
 */
export const EVERY_WIRE_BYTES = 8192;
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
const SOURCE_AT = 2;
const DESTINATION_AT = 4;
const LAN_AT = 6;
const EPOCH_AT = 8;
const LIFE_AT = 10;
const SEQUENCE_AT = 12;

export const FRAMES = 0;
/** A hello: asks for a sign of life. Belongs to a wire, not to a LAN: it ends where the wire ends and never reaches a switch. */
export const PROBE = 1;
export const PROBE_REPLY = 2;
/** Link state: what switches tell each other about their links. One hop; the forwarding path does not look inside. */
export const NOTE = 3;
export type BatchType = typeof FRAMES | typeof PROBE | typeof PROBE_REPLY | typeof NOTE;

export interface BatchHeader {
  readonly type: BatchType;
  /** Hops that are left, the next one included. */
  readonly ttl: number;
  readonly source: number;
  readonly destination: number;
  readonly lan: number;
  /** Revision of the plan, modulo 2^16, that the source knew. For those who watch; nothing is decided by it. */
  readonly epoch: number;
  /** Drawn anew by each switch that starts: sequence numbers of another life say nothing about those of this one. */
  readonly life: number;
  readonly sequence: number;
}

/** Writes the header into the first 16 bytes of `into`. */
export function writeHeader(into: Uint8Array, header: BatchHeader): void {
  into[0] = (VERSION << 4) | header.type;
  into[TTL_AT] = header.ttl;
  put16(into, SOURCE_AT, header.source);
  put16(into, DESTINATION_AT, header.destination);
  put16(into, LAN_AT, header.lan);
  put16(into, EPOCH_AT, header.epoch);
  put16(into, LIFE_AT, header.life);
  put16(into, SEQUENCE_AT, header.sequence >>> 16);
  put16(into, SEQUENCE_AT + 2, header.sequence & 0xffff);
}

export const writeTtl = (batch: Uint8Array, ttl: number): void => {
  batch[TTL_AT] = ttl;
};

/** A batch of its own memory. The switch writes its headers in front of runs instead. */
export function encodeBatch(header: BatchHeader, run: Run = new Uint8Array(0)): Batch {
  const batch = new Uint8Array(HEADER_BYTES + run.length);
  writeHeader(batch, header);
  batch.set(run, HEADER_BYTES);
  return batch;
}

/** What kind of batch this is, or undefined when it is none of our version. All other readers are for batches that have a type. */
export function typeOf(batch: Batch): BatchType | undefined {
  if (batch.length < HEADER_BYTES) return undefined;
  const first = batch[0]!;
  return first >> 4 === VERSION && (first & 0x0f) <= NOTE ? ((first & 0x0f) as BatchType) : undefined;
}

export const ttlOf = (batch: Batch): number => batch[TTL_AT]!;
export const sourceOf = (batch: Batch): number => u16At(batch, SOURCE_AT);
export const destinationOf = (batch: Batch): number => u16At(batch, DESTINATION_AT);
export const lanOf = (batch: Batch): number => u16At(batch, LAN_AT);
export const lifeOf = (batch: Batch): number => u16At(batch, LIFE_AT);
export const sequenceOf = (batch: Batch): number => u32At(batch, SEQUENCE_AT);

/** The whole header as an object, or undefined when this is not a batch of our version. Not for the hot path. */
export function decodeHeader(batch: Batch): BatchHeader | undefined {
  const type = typeOf(batch);
  if (type === undefined) return undefined;
  return {
    type,
    ttl: ttlOf(batch),
    source: sourceOf(batch),
    destination: destinationOf(batch),
    lan: lanOf(batch),
    epoch: u16At(batch, EPOCH_AT),
    life: lifeOf(batch),
    sequence: sequenceOf(batch),
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

/** As many whole frames as fit into `max` bytes, but at least one. The run was walked before: all frames up to `end` are whole. */
export function cutEnd(run: Run, start: number, end: number, max: number): number {
  if (end - start <= max) return end;
  let at = nextFrame(run, start);
  for (let next = nextFrame(run, at); next !== 0 && next - start <= max; next = nextFrame(run, at)) at = next;
  return at;
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
