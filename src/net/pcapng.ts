/**
 * Captures as Wireshark and tcpdump read them: blocks of pcapng (draft-ietf-opsawg-pcapng; the sections are named below). Pure.
 * All numbers are little-endian, which the byte-order magic says; times are microseconds since 1970 (if_tsresol 6).
 */
import { KithError } from '../base/errors.ts';

/** As the captured interface sees it: it receives inbound frames. */
export type Direction = 'inbound' | 'outbound';

export interface Packet {
  readonly timeUs: number;
  readonly direction: Direction;
  /** Of the frame on the LAN; more than `data` when it was cut. */
  readonly length: number;
  readonly data: Uint8Array;
}

export interface Statistics {
  readonly timeUs: number;
  readonly received: number;
  readonly dropped: number;
}

const SECTION = 0x0a0d0d0a;
const INTERFACE = 1;
const STATISTICS = 5;
const PACKET = 6;
const MAGIC = 0x1a2b3c4d;
/** LINKTYPE_ETHERNET (tcpdump.org/linktypes.html). */
const ETHERNET = 1;
const MICROSECONDS = 6;

const OPTION = { end: 0, hardware: 2, os: 3, application: 4, name: 2, description: 3, tsresol: 9, flags: 2 } as const;
const COUNTED = { received: 4, dropped: 5 } as const;
const FLAGS: Readonly<Record<Direction, number>> = { inbound: 1, outbound: 2 };

/** Type and length in front, the length again behind. */
const FRAME_BYTES = 12;
/** Of a packet block before its data, and its one option behind: flags, and the end of options. */
const PACKET_HEAD = 28;
const PACKET_TAIL = 12;
const MIN_PACKET = PACKET_HEAD + 4;

type Option = readonly [code: number, value: Uint8Array];

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const padded = (length: number): number => (length + 3) & ~3;

function u32s(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => view.setUint32(4 * i, value, true));
  return bytes;
}

const high = (value: number): number => Math.floor(value / 2 ** 32);
const low = (value: number): number => value % 2 ** 32;
/** 64 bits of a counter; times have their high half first whatever the byte order (4.3). */
const u64 = (value: number): Uint8Array => u32s(low(value), high(value));

function block(type: number, fixed: readonly Uint8Array[], options: readonly Option[]): Uint8Array {
  const parts: Uint8Array[] = [...fixed];
  for (const [code, value] of options.length > 0 ? [...options, [OPTION.end, new Uint8Array(0)] as const] : []) {
    parts.push(u32s(code | (value.length << 16)), value, new Uint8Array(padded(value.length) - value.length));
  }
  const length = FRAME_BYTES + parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of [u32s(type, length), ...parts, u32s(length)]) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** 4.1: begins a file. The length of the section is not known, which is all ones. */
export const sectionHeader = (about: { readonly application: string }): Uint8Array =>
  block(SECTION, [u32s(MAGIC, 1, 0xffffffff, 0xffffffff)], [[OPTION.application, text(about.application)]]);

/** 4.2: the one interface of a capture, number 0. */
export const interfaceDescription = (about: {
  readonly name: string;
  readonly description: string;
  readonly snapLength: number;
}): Uint8Array =>
  block(
    INTERFACE,
    [u32s(ETHERNET, about.snapLength)],
    [
      [OPTION.name, text(about.name)],
      [OPTION.description, text(about.description)],
      [OPTION.tsresol, Uint8Array.of(MICROSECONDS)],
    ],
  );

/** How many bytes enhancedPacket() makes of so many. */
export const packetBytes = (length: number): number => PACKET_HEAD + padded(length) + PACKET_TAIL + 4;

/** 4.3, with epb_flags (4.3.1) for the direction. By hand: one allocation for each frame. */
export function enhancedPacket({ timeUs, direction, length, data }: Packet): Uint8Array {
  const bytes = new Uint8Array(packetBytes(data.length));
  const view = new DataView(bytes.buffer);
  const put = (at: number, value: number) => view.setUint32(at, value, true);
  put(0, PACKET);
  put(4, bytes.length);
  put(12, high(timeUs));
  put(16, low(timeUs));
  put(20, data.length);
  put(24, length);
  bytes.set(data, PACKET_HEAD);
  const options = PACKET_HEAD + padded(data.length);
  put(options, OPTION.flags | (4 << 16));
  put(options + 4, FLAGS[direction]);
  put(bytes.length - 4, bytes.length);
  return bytes;
}

/** 4.6: what was seen, and what of it is not in the file. Ends a capture. */
export const interfaceStatistics = ({ timeUs, received, dropped }: Statistics): Uint8Array =>
  block(
    STATISTICS,
    [u32s(0, high(timeUs), low(timeUs))],
    [
      [COUNTED.received, u64(received)],
      [COUNTED.dropped, u64(dropped)],
    ],
  );

/**
 * Where each packet block ends. The blocks come from another peer and go into our owner's file: anything but whole packets of
 * interface 0 within the snap length is refused.
 */
export function packetEnds(blocks: Uint8Array, snapLength: number): number[] {
  const view = new DataView(blocks.buffer, blocks.byteOffset, blocks.byteLength);
  const at32 = (at: number) => view.getUint32(at, true);
  const ends: number[] = [];
  for (let at = 0; at < blocks.length;) {
    const whole = blocks.length - at >= MIN_PACKET && at32(at) === PACKET && at32(at + 8) === 0;
    const captured = whole ? at32(at + 20) : 0;
    const end = at + packetBytes(captured);
    if (!whole || captured > snapLength || at32(at + 24) < captured || end > blocks.length) throw notPackets();
    const options = at + PACKET_HEAD + padded(captured);
    const lengths = at32(at + 4) === end - at && at32(end - 4) === end - at;
    const flags = at32(options) === (OPTION.flags | (4 << 16)) && Object.values(FLAGS).includes(at32(options + 4));
    if (!lengths || !flags || at32(options + 8) !== OPTION.end) throw notPackets();
    ends.push(end);
    at = end;
  }
  return ends;
}

const notPackets = () =>
  new KithError({
    code: 'capture.damaged',
    message: 'the peer sent something that is not a capture',
    hint: 'is it the same version of kith?',
    retry: 'never',
  });
