/** What switches tell each other about their links: the messages of link state, byte by byte. Pure. */
import { EVERY_WIRE_BYTES } from './batch.ts';
import { u16At, u32At } from './bytes.ts';
import { isGroup, macAt, type MacNumber } from './directory.ts';

/*
 * A message is the payload of a NOTE batch (batch.ts) and goes one hop. All numbers are big-endian.
 *
 *   notes    1 | (length u16, note)…                                 new notes, each passed on as it came
 *   summary  2 | hash u64                                            do you have the same notes as we?
 *   digest   3 | answer u8 | (origin u16, sequence u32)…             send what is newer; answer: and your digest, if ours is
 *
 *   note: origin u16 | sequence u32 | flags u8 | neighbours u16 | MACs u8
 *         | (neighbour u16, cost u16, size class u8)… | (MAC 6 bytes)… | signature of all before, 64 bytes
 *
 * There is one way to write a note: lists are in rising order. So two notes are the same when their bytes are.
 */
const NOTES = 1;
const SUMMARY = 2;
const DIGEST = 3;

/** Ed25519 (RFC 8032). */
export const SIGNATURE_BYTES = 64;
/** A message passes every wire in one batch. */
export const MAX_MESSAGE_BYTES = EVERY_WIRE_BYTES;
/** More than any plan has nodes. */
export const MAX_NEIGHBOURS = 512;
/** Addresses behind a port that is a bridge; a guest with more of its own is not what a LAN of friends is for. */
export const MAX_MACS = 64;

const HEAD_BYTES = 10;
const NEIGHBOUR_BYTES = 5;
const MAC_BYTES = 6;
const DIGEST_ENTRY_BYTES = 6;
const GUEST_FLAG = 1;
const LENGTH_BYTES = 2;
const KIND_BYTES = 1;
const HASH_BYTES = 8;

export const MAX_DIGEST_ENTRIES = Math.floor((MAX_MESSAGE_BYTES - KIND_BYTES - 1) / DIGEST_ENTRY_BYTES);

export interface NoteNeighbour {
  readonly node: number;
  /** Tenths of a millisecond, 1 to 65,535. */
  readonly cost: number;
  /** Largest batch in bytes; told in steps of 4 %, rounded down (sizeOfClass). */
  readonly maxBatch: number;
}

export interface NoteBody {
  readonly origin: number;
  readonly sequence: number;
  /** A guest runs here. */
  readonly guest: boolean;
  readonly neighbours: readonly NoteNeighbour[];
  /** Learned addresses behind the port, besides the guest's own. */
  readonly macs: readonly MacNumber[];
}

/** As (origin, sequence) pairs. */
export type Digest = readonly (readonly [origin: number, sequence: number])[];

export type Message =
  | { readonly kind: 'notes'; readonly notes: readonly Uint8Array[] }
  | { readonly kind: 'summary'; readonly high: number; readonly low: number }
  | { readonly kind: 'digest'; readonly answer: boolean; readonly digest: Digest };

/** Sixteen steps to each doubling from 1 KiB; powers of two are exact. */
const CLASSES_PER_DOUBLING = 16;
const CLASS_ZERO_BYTES = 1024;
const MAX_CLASS = 255;

export const sizeOfClass = (step: number): number => Math.floor(CLASS_ZERO_BYTES * 2 ** (step / CLASSES_PER_DOUBLING));

/** The highest class that is not larger than `bytes`. */
export function classOfSize(bytes: number): number {
  const step = Math.ceil(Math.log2(Math.max(bytes, CLASS_ZERO_BYTES) / CLASS_ZERO_BYTES) * CLASSES_PER_DOUBLING);
  return Math.min(sizeOfClass(step) > bytes ? Math.max(step - 1, 0) : step, MAX_CLASS);
}

/** A note without its signature: what is signed. Lists may be in any order. */
export function encodeNoteBody({ origin, sequence, guest, neighbours, macs }: NoteBody): Uint8Array {
  const bytes = new Uint8Array(HEAD_BYTES + neighbours.length * NEIGHBOUR_BYTES + macs.length * MAC_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, origin);
  view.setUint32(2, sequence);
  view.setUint8(6, guest ? GUEST_FLAG : 0);
  view.setUint16(7, neighbours.length);
  view.setUint8(9, macs.length);
  let at = HEAD_BYTES;
  for (const { node, cost, maxBatch } of [...neighbours].sort((a, b) => a.node - b.node)) {
    view.setUint16(at, node);
    view.setUint16(at + 2, cost);
    view.setUint8(at + 4, classOfSize(maxBatch));
    at += NEIGHBOUR_BYTES;
  }
  for (const mac of [...macs].sort((a, b) => a - b)) {
    view.setUint16(at, Math.floor(mac / 2 ** 32));
    view.setUint32(at + 2, mac % 2 ** 32);
    at += MAC_BYTES;
  }
  return bytes;
}

export const originOf = (note: Uint8Array): number => u16At(note, 0);
export const sequenceOf = (note: Uint8Array): number => u32At(note, 2);
export const bodyOf = (note: Uint8Array): Uint8Array => note.subarray(0, note.length - SIGNATURE_BYTES);
export const signatureOf = (note: Uint8Array): Uint8Array => note.subarray(note.length - SIGNATURE_BYTES);

/** What a signed note says, or undefined when it is not exactly one. Whether the signature holds is the caller's to check. */
export function decodeNote(note: Uint8Array): NoteBody | undefined {
  if (note.length < HEAD_BYTES + SIGNATURE_BYTES) return undefined;
  const flags = note[6]!;
  const neighbourCount = u16At(note, 7);
  const macCount = note[9]!;
  const length = HEAD_BYTES + neighbourCount * NEIGHBOUR_BYTES + macCount * MAC_BYTES + SIGNATURE_BYTES;
  if (note.length !== length || neighbourCount > MAX_NEIGHBOURS || macCount > MAX_MACS || flags > GUEST_FLAG) {
    return undefined;
  }
  const origin = originOf(note);
  const neighbours: NoteNeighbour[] = [];
  let at = HEAD_BYTES;
  for (let i = 0, last = -1; i < neighbourCount; i++, at += NEIGHBOUR_BYTES) {
    const node = u16At(note, at);
    const cost = u16At(note, at + 2);
    if (node <= last || node === origin || cost === 0) return undefined;
    neighbours.push({ node, cost, maxBatch: sizeOfClass(note[at + 4]!) });
    last = node;
  }
  const macs: MacNumber[] = [];
  for (let i = 0, last = -1; i < macCount; i++, at += MAC_BYTES) {
    const mac = macAt(note, at);
    if (mac <= last || isGroup(note, at)) return undefined;
    macs.push((last = mac));
  }
  return { origin, sequence: sequenceOf(note), guest: flags === GUEST_FLAG, neighbours, macs };
}

/** In as few messages as possible. */
export function encodeNotes(notes: readonly Uint8Array[]): Uint8Array[] {
  const messages: Uint8Array[] = [];
  for (let from = 0, to = 0; from < notes.length; from = to) {
    let length = KIND_BYTES;
    for (; to < notes.length && length + LENGTH_BYTES + notes[to]!.length <= MAX_MESSAGE_BYTES; to++) {
      length += LENGTH_BYTES + notes[to]!.length;
    }
    const message = new Uint8Array(length);
    message[0] = NOTES;
    let at = KIND_BYTES;
    for (const note of notes.slice(from, to)) {
      message[at] = note.length >>> 8;
      message[at + 1] = note.length;
      message.set(note, at + LENGTH_BYTES);
      at += LENGTH_BYTES + note.length;
    }
    messages.push(message);
  }
  return messages;
}

export function encodeSummary(high: number, low: number): Uint8Array {
  const message = new Uint8Array(KIND_BYTES + HASH_BYTES);
  const view = new DataView(message.buffer);
  view.setUint8(0, SUMMARY);
  view.setUint32(1, high);
  view.setUint32(5, low);
  return message;
}

export function encodeDigest(digest: Digest, answer: boolean): Uint8Array {
  const entries = digest.slice(0, MAX_DIGEST_ENTRIES);
  const message = new Uint8Array(KIND_BYTES + 1 + entries.length * DIGEST_ENTRY_BYTES);
  const view = new DataView(message.buffer);
  view.setUint8(0, DIGEST);
  view.setUint8(1, answer ? 1 : 0);
  for (const [i, [origin, sequence]] of entries.entries()) {
    view.setUint16(KIND_BYTES + 1 + i * DIGEST_ENTRY_BYTES, origin);
    view.setUint32(KIND_BYTES + 3 + i * DIGEST_ENTRY_BYTES, sequence);
  }
  return message;
}

/** Notes are views into the message. Undefined when this is not exactly one message. */
export function decodeMessage(message: Uint8Array): Message | undefined {
  if (message.length > MAX_MESSAGE_BYTES) return undefined;
  switch (message[0]) {
    case NOTES:
      return decodeNotes(message);
    case SUMMARY:
      if (message.length !== KIND_BYTES + HASH_BYTES) return undefined;
      return { kind: 'summary', high: u32At(message, 1), low: u32At(message, 5) };
    case DIGEST:
      return decodeDigest(message);
    default:
      return undefined;
  }
}

function decodeNotes(message: Uint8Array): Message | undefined {
  const notes: Uint8Array[] = [];
  let at = KIND_BYTES;
  while (at + LENGTH_BYTES <= message.length) {
    const end = at + LENGTH_BYTES + u16At(message, at);
    if (end > message.length || end - at < LENGTH_BYTES + HEAD_BYTES + SIGNATURE_BYTES) return undefined;
    notes.push(message.subarray(at + LENGTH_BYTES, end));
    at = end;
  }
  return at === message.length && notes.length > 0 ? { kind: 'notes', notes } : undefined;
}

function decodeDigest(message: Uint8Array): Message | undefined {
  const answer = message[1];
  if (answer === undefined || answer > 1 || (message.length - KIND_BYTES - 1) % DIGEST_ENTRY_BYTES !== 0)
    return undefined;
  const digest: [number, number][] = [];
  for (let at = KIND_BYTES + 1; at < message.length; at += DIGEST_ENTRY_BYTES) {
    digest.push([u16At(message, at), u32At(message, at + 2)]);
  }
  return { kind: 'digest', answer: answer === 1, digest };
}
