/** Answers questions for neighbours (ARP, IPv6 neighbour discovery) from the directory, so that they need not go to everybody. Pure. */
import { LENGTH_BYTES } from './batch.ts';
import { u16At, u32At } from './bytes.ts';
import { isGroup, macAt, type Directory, type MacNumber, type Place } from './directory.ts';
import { linkLocalMac, NO_MAC } from './eui64.ts';
import type { Run } from './port.ts';

/*
 * A question is answered only for an address that its owner was heard to use a moment ago: a sweep of the LAN must find those who are
 * there and nobody else. Never for the asker's own address, and never for an asker that has none yet: those look for duplicates
 * (RFC 5227, RFC 4862), and only the LAN itself knows.
 */

/** Which of its planned addresses a place was heard to use: by a frame whose source it was. */
export type Protocol = 'ipv4' | 'ipv6';

/** Does this place use its address of that protocol, and can it be reached? */
export type IsPresent = (place: Place, protocol: Protocol) => boolean;

const ETHERNET_BYTES = 14;
const TYPE_AT = 12;
const ARP = 0x0806;
const IPV4 = 0x0800;
const IPV6 = 0x86dd;
const BROADCAST: MacNumber = 0xffff_ffff_ffff;
/** The shortest frame on a real Ethernet, without its checksum (IEEE 802.3, 3.2.8). */
const MIN_ETHERNET = 60;

const ARP_BYTES = 28;
/** Ethernet, IPv4, lengths 6 and 4, and the operation. */
const ARP_HEAD = [0, 1, 8, 0, 6, 4, 0] as const;
const ARP_REQUEST = 1;
const ARP_REPLY = 2;

const IPV6_BYTES = 40;
const ICMPV6 = 58;
/** RFC 4861, 7.1.1: anything less came from another LAN. */
const HOP_LIMIT = 255;
const NEIGHBOUR_SOLICITATION = 135;
const NEIGHBOUR_ADVERTISEMENT = 136;
const NS_BYTES = 24;
/** With the target link-layer address option. */
const NA_BYTES = 32;
/** Solicited, override (RFC 4861, 4.4). */
const NA_FLAGS = 0x60;
const TARGET_LINK_LAYER_ADDRESS = 2;

/** Which of its own planned addresses the frame of `from` at `at` speaks from. Frames have passed the guards. */
export function speaksFrom(bytes: Uint8Array, at: number, end: number, from: Place): Protocol | undefined {
  const type = u16At(bytes, at + TYPE_AT);
  const body = at + ETHERNET_BYTES;
  if (macAt(bytes, at + 6) !== from.mac) return undefined;
  if (type === IPV4) return end - body >= 20 && u32At(bytes, body + 12) === from.address ? 'ipv4' : undefined;
  if (type === ARP) return end - body >= ARP_BYTES && u32At(bytes, body + 14) === from.address ? 'ipv4' : undefined;
  if (type !== IPV6 || end - body < IPV6_BYTES) return undefined;
  return linkLocalMac(bytes, body + 8) === from.mac ? 'ipv6' : undefined;
}

/** The answer to the frame at `at` as a run for its sender, or undefined: then it is no question, or one for everybody. */
export function neighbourAnswer(
  bytes: Uint8Array,
  at: number,
  end: number,
  asker: Place,
  directory: Directory,
  isPresent: IsPresent,
): Run | undefined {
  if (end - at < ETHERNET_BYTES || macAt(bytes, at + 6) !== asker.mac) return undefined;
  const type = u16At(bytes, at + TYPE_AT);
  if (type === ARP && macAt(bytes, at) === BROADCAST) return arpAnswer(bytes, at, end, asker, directory, isPresent);
  if (type === IPV6 && isGroup(bytes, at)) return advertisement(bytes, at, end, asker, directory, isPresent);
  return undefined;
}

function arpAnswer(bytes: Uint8Array, at: number, end: number, asker: Place, directory: Directory, is: IsPresent) {
  const body = at + ETHERNET_BYTES;
  if (end - body < ARP_BYTES || bytes[body + 7] !== ARP_REQUEST) return undefined;
  for (let i = 0; i < ARP_HEAD.length; i++) if (bytes[body + i] !== ARP_HEAD[i]) return undefined;
  const target = directory.placeAt(u32At(bytes, body + 24));
  if (!target || target.node === asker.node || u32At(bytes, body + 14) !== asker.address) return undefined;
  if (macAt(bytes, body + 8) !== asker.mac || !is(target, 'ipv4')) return undefined;
  const run = answerTo(asker, target.mac, ARP, MIN_ETHERNET);
  const reply = LENGTH_BYTES + ETHERNET_BYTES;
  run.set(ARP_HEAD, reply);
  run[reply + 7] = ARP_REPLY;
  putMac(run, reply + 8, target.mac);
  put32(run, reply + 14, target.address);
  putMac(run, reply + 18, asker.mac);
  put32(run, reply + 24, asker.address);
  return run;
}

function advertisement(bytes: Uint8Array, at: number, end: number, asker: Place, directory: Directory, is: IsPresent) {
  const ip = at + ETHERNET_BYTES;
  const icmp = ip + IPV6_BYTES;
  if (end < icmp + NS_BYTES || bytes[ip]! >> 4 !== 6 || u16At(bytes, ip + 4) < NS_BYTES) return undefined;
  if (bytes[ip + 6] !== ICMPV6 || bytes[ip + 7] !== HOP_LIMIT) return undefined;
  if (bytes[icmp] !== NEIGHBOUR_SOLICITATION || bytes[icmp + 1] !== 0) return undefined;
  const mac = linkLocalMac(bytes, icmp + 8);
  if (mac === NO_MAC || linkLocalMac(bytes, ip + 8) !== asker.mac) return undefined;
  const target = directory.place(directory.nodeOf(mac) ?? asker.node);
  if (!target || target.mac !== mac || target.node === asker.node || !is(target, 'ipv6')) return undefined;
  const run = answerTo(asker, target.mac, IPV6, ETHERNET_BYTES + IPV6_BYTES + NA_BYTES);
  const out = LENGTH_BYTES + ETHERNET_BYTES;
  const message = out + IPV6_BYTES;
  run[out] = 0x60;
  run[out + 5] = NA_BYTES;
  run[out + 6] = ICMPV6;
  run[out + 7] = HOP_LIMIT;
  run.set(bytes.subarray(icmp + 8, icmp + 24), out + 8);
  run.set(bytes.subarray(ip + 8, ip + 24), out + 24);
  run[message] = NEIGHBOUR_ADVERTISEMENT;
  run[message + 4] = NA_FLAGS;
  run.set(bytes.subarray(icmp + 8, icmp + 24), message + 8);
  run[message + 24] = TARGET_LINK_LAYER_ADDRESS;
  run[message + 25] = 1; // in units of 8 bytes
  putMac(run, message + 26, target.mac);
  put16(run, message + 2, checksum(run, out + 8, message));
  return run;
}

function answerTo(asker: Place, from: MacNumber, type: number, length: number): Uint8Array {
  const run = new Uint8Array(LENGTH_BYTES + length);
  put32(run, 0, length);
  putMac(run, LENGTH_BYTES, asker.mac);
  putMac(run, LENGTH_BYTES + 6, from);
  put16(run, LENGTH_BYTES + TYPE_AT, type);
  return run;
}

/** Of an ICMPv6 message with the addresses in front of it (RFC 8200, 8.1), up to the end. */
function checksum(bytes: Uint8Array, from: number, message: number): number {
  let sum = bytes.length - message + ICMPV6;
  for (let at = from; at < bytes.length; at += 2) sum += u16At(bytes, at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function put16(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 8;
  into[at + 1] = value;
}

function put32(into: Uint8Array, at: number, value: number): void {
  put16(into, at, value >>> 16);
  put16(into, at + 2, value & 0xffff);
}

function putMac(into: Uint8Array, at: number, mac: MacNumber): void {
  put16(into, at, Math.floor(mac / 0x1_0000_0000));
  put32(into, at + 2, (mac % 0x1_0000_0000) >>> 0);
}
