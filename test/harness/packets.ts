/** Real packets by hand, honest and not: Ethernet, VLAN, ARP, IPv4, IPv6, UDP, ICMPv6. Checksums are zero; no guard reads them. */

import { BROADCAST } from './frames.ts';

export type Bytes = readonly number[];

const macBytes = (mac: string): Bytes => mac.split(':').map((part) => Number.parseInt(part, 16));
const ipBytes = (address: string): Bytes => address.split('.').map(Number);
const u16 = (value: number): Bytes => [(value >> 8) & 0xff, value & 0xff];

export const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd, vlan: 0x8100, qinq: 0x88a8 } as const;

export interface Ethernet {
  readonly to?: string;
  readonly from: string;
  readonly type: number;
  /** VLAN tags from the outside in: type and number. */
  readonly tags?: readonly (readonly [number, number])[];
}

export function ethernet({ to = BROADCAST, from, type, tags = [] }: Ethernet, payload: Bytes): Uint8Array {
  const bytes = [...macBytes(to), ...macBytes(from), ...tags.flatMap(([tag, vlan]) => [...u16(tag), ...u16(vlan)])];
  return Uint8Array.from([...bytes, ...u16(type), ...payload]);
}

/** `operation` 1 asks, 2 answers. */
export const arp = (operation: number, senderMac: string, senderIp: string, targetIp: string): Bytes => [
  ...u16(1),
  ...u16(0x0800),
  6,
  4,
  ...u16(operation),
  ...macBytes(senderMac),
  ...ipBytes(senderIp),
  ...ipBytes('0.0.0.0'),
  ...u16(0),
  ...ipBytes(targetIp),
];

export interface Ipv4 {
  readonly from: string;
  readonly to: string;
  readonly protocol: number;
  /** Flags and offset of a fragment as they stand in the header. */
  readonly fragment?: number;
  /** Words of options behind the header. */
  readonly options?: number;
}

export function ipv4({ from, to, protocol, fragment = 0, options = 0 }: Ipv4, payload: Bytes): Bytes {
  const length = 20 + options * 4;
  const head = [0x40 | (length / 4), 0, ...u16(length + payload.length), 0, 1, ...u16(fragment), 64, protocol, 0, 0];
  return [...head, ...ipBytes(from), ...ipBytes(to), ...Array<number>(options * 4).fill(1), ...payload];
}

export const udp = (from: number, to: number, data: Bytes = [1, 2, 3, 4]): Bytes => [
  ...u16(from),
  ...u16(to),
  ...u16(8 + data.length),
  ...u16(0),
  ...data,
];

/** The link-local address that a MAC makes (RFC 4291, appendix A). */
export function linkLocal(mac: string): Bytes {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = macBytes(mac);
  return [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
}

export const UNSPECIFIED: Bytes = Array<number>(16).fill(0);
const ALL_NODES: Bytes = [0xff, 2, ...Array<number>(13).fill(0), 1];

export interface Ipv6 {
  readonly from: Bytes;
  readonly next: number;
  /** Headers in between: the number of each, and its bytes, of which the first is set to what follows. */
  readonly extensions?: readonly (readonly [number, Bytes])[];
}

export function ipv6({ from, next, extensions = [] }: Ipv6, payload: Bytes): Bytes {
  const kinds = [...extensions.map(([kind]) => kind), next];
  const chain = extensions.flatMap(([, bytes], i) => [kinds[i + 1]!, ...bytes.slice(1)]);
  const head = [0x60, 0, 0, 0, ...u16(chain.length + payload.length), kinds[0]!, 255];
  return [...head, ...from, ...ALL_NODES, ...chain, ...payload];
}

/** Eight bytes of padding, as a header of hop-by-hop or destination options. */
export const OPTIONS: Bytes = [0, 0, 1, 4, 0, 0, 0, 0];
/** A fragment header; `offset` in bytes. */
export const fragment = (offset: number, more: boolean): Bytes => [0, 0, ...u16(offset | (more ? 1 : 0)), 0, 0, 0, 7];

export const icmpv6 = (type: number, target: Bytes = []): Bytes => [type, 0, 0, 0, 0, 0, 0, 0, ...target];
