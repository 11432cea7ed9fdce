/** What a frame must not say: whose it is, whose addresses it speaks for, and that it serves the LAN. Pure, hot path. */
import { u16At, u32At } from './bytes.ts';
import { isGroup, macAt, type Directory, type MacNumber, type Place } from './directory.ts';
import { interfaceMac, NO_MAC } from './eui64.ts';

/**
 * A guest may send any bytes, and so may a peer that lies. Each frame is looked at twice: where its guest runs, and again at
 * every switch that it reaches. The rules:
 *   - its Ethernet source is the one MAC address that the plan gives to its node, or, if the plan calls its place a segment, one
 *     that nobody else has;
 *   - ARP, IPv6 neighbour advertisements and IP sources speak for the own address or for one that is nobody's by the plan, never
 *     for another place's. So a guest may route, nest or share an address of its own making, but be nobody else;
 *   - only the master guest answers DHCP and DHCPv6 or sends IPv6 router advertisements and redirects (RFC 7610, RFC 6105);
 *   - nothing hides from these rules: VLAN tags are peeled off (a guest takes a tag with VLAN 0 for no tag at all), SNAP and
 *     headers that are cut off or too deep are refused. Each first fragment must show its ports; later ones carry none and are
 *     useless without the first (receivers refuse overlaps: RFC 5722, and Linux for IPv4 since 4.19).
 */
export type Fault =
  /** Its source address is not the one that the plan gives to its node. */
  | 'forged'
  /** ARP or IPv6 neighbour discovery for somebody else's address. */
  | 'false-neighbour'
  /** Its IP source is the address of another place. */
  | 'stolen-address'
  /** DHCP or router advertisements from a guest that is not the master. */
  | 'rogue-server'
  /** Its headers hide or lack what the rules are about. */
  | 'unreadable';

const ETHERNET_BYTES = 14;
const IPV4 = 0x0800;
const ARP = 0x0806;
const IPV6 = 0x86dd;
/** 802.1Q, 802.1ad, and what switches used before 802.1ad. Compared, not looked up: this is asked for each frame but IPv4. */
const isTag = (type: number): boolean => type === 0x8100 || type === 0x88a8 || type === 0x9100;
/** QinQ is two. */
const MAX_TAGS = 2;
/** Below this the field is a length and an LLC header follows (IEEE 802.3, 3.2.6). */
const MIN_ETHERTYPE = 0x0600;
const SNAP = 0xaa;

const UDP = 17;
const ICMPV6 = 58;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
/** Hop-by-hop, routing, fragment, authentication, destination options: whatever else comes next is no header in between. */
const EXTENSIONS = new Set([0, 43, FRAGMENT, AUTHENTICATION, 60]);
/** RFC 8200, 4.1 names at most seven in one packet. */
const MAX_EXTENSIONS = 8;

/** DHCP and DHCPv6. Clients look at the port that an answer is for and not at the one it is from, so either gives it away. */
const SERVER_PORTS = new Set([67, 547]);
const CLIENT_PORTS = new Set([68, 546]);
const NEIGHBOUR_ADVERTISEMENT = 136;
/** Router advertisement and redirect. */
const ROUTER_MESSAGES = new Set([134, 137]);

/** Ethernet and IPv4, lengths 6 and 4: the only ARP that guests understand, as one number each (RFC 826). */
const ARP_ETHERNET_IPV4 = [0x0001_0800, 0x0604] as const;
const ARP_BYTES = 28;

/** What is wrong with the frame that `from` is said to have sent; undefined: nothing. Never throws, whatever the bytes. */
export function inspect(
  bytes: Uint8Array,
  at: number,
  end: number,
  from: Place | undefined,
  directory: Directory,
): Fault | undefined {
  if (!from || end - at < ETHERNET_BYTES) return 'forged';
  const mac = macAt(bytes, at + 6);
  if (mac !== from.mac && (isGroup(bytes, at + 6) || !isOfSegment(mac, from, directory))) return 'forged';
  const type = u16At(bytes, at + 12);
  if (type === IPV4) return inspectIpv4(bytes, at + ETHERNET_BYTES, end, from, directory);
  return inspectOther(bytes, at + 12, end, from, directory);
}

function inspectOther(bytes: Uint8Array, typeAt: number, end: number, from: Place, directory: Directory) {
  let at = typeAt;
  for (let tags = 0; isTag(u16At(bytes, at)); tags++) {
    if (tags === MAX_TAGS || at + 6 > end) return 'unreadable';
    at += 4;
  }
  const type = u16At(bytes, at);
  const body = at + 2;
  if (type === IPV4) return inspectIpv4(bytes, body, end, from, directory);
  if (type === ARP) return inspectArp(bytes, body, end, from, directory);
  if (type === IPV6) return inspectIpv6(bytes, body, end, from, directory);
  // Some systems unwrap what SNAP carries, and nothing on a LAN of virtual machines needs it.
  return type < MIN_ETHERTYPE && (body >= end || (bytes[body]! & 0xfe) === SNAP) ? 'unreadable' : undefined;
}

function inspectArp(bytes: Uint8Array, at: number, end: number, from: Place, directory: Directory): Fault | undefined {
  if (end - at < ARP_BYTES) return 'unreadable';
  if (u32At(bytes, at) !== ARP_ETHERNET_IPV4[0] || u16At(bytes, at + 4) !== ARP_ETHERNET_IPV4[1]) return 'unreadable';
  const mac = macAt(bytes, at + 8);
  if (mac !== from.mac && !isOfSegment(mac, from, directory)) return 'false-neighbour';
  return isAnothers(u32At(bytes, at + 14), from, directory) ? 'false-neighbour' : undefined;
}

function inspectIpv4(bytes: Uint8Array, at: number, end: number, from: Place, directory: Directory): Fault | undefined {
  if (end - at < 20) return 'unreadable';
  const first = bytes[at]!;
  if (first < 0x45 || first > 0x4f) return 'unreadable';
  if (isAnothers(u32At(bytes, at + 12), from, directory)) return 'stolen-address';
  if (bytes[at + 9] !== UDP || from.server || (u16At(bytes, at + 6) & 0x1fff) !== 0) return undefined;
  return inspectUdp(bytes, at + (first & 0x0f) * 4, end);
}

function inspectIpv6(bytes: Uint8Array, at: number, end: number, from: Place, directory: Directory): Fault | undefined {
  if (end - at < 40 || bytes[at]! >> 4 !== 6) return 'unreadable';
  if (isAnothersIpv6(bytes, at + 8, from, directory)) return 'stolen-address';
  let next = bytes[at + 6]!;
  let here = at + 40;
  for (let depth = 0; EXTENSIONS.has(next); depth++) {
    if (depth === MAX_EXTENSIONS || here + 8 > end) return 'unreadable';
    if (next === FRAGMENT && (u16At(bytes, here + 2) & 0xfff8) !== 0) return undefined;
    const length = bytes[here + 1]!;
    const header = next;
    next = bytes[here]!;
    here += header === FRAGMENT ? 8 : header === AUTHENTICATION ? (length + 2) * 4 : (length + 1) * 8;
  }
  if (next === UDP) return from.server ? undefined : inspectUdp(bytes, here, end);
  if (next !== ICMPV6) return undefined;
  if (here >= end) return 'unreadable';
  const kind = bytes[here]!;
  if (!from.server && ROUTER_MESSAGES.has(kind)) return 'rogue-server';
  if (kind !== NEIGHBOUR_ADVERTISEMENT) return undefined;
  if (here + 24 > end) return 'unreadable';
  return isAnothersIpv6(bytes, here + 8, from, directory) ? 'false-neighbour' : undefined;
}

function inspectUdp(bytes: Uint8Array, at: number, end: number): Fault | undefined {
  if (at + 4 > end) return 'unreadable';
  const ours = SERVER_PORTS.has(u16At(bytes, at)) || CLIENT_PORTS.has(u16At(bytes, at + 2));
  return ours ? 'rogue-server' : undefined;
}

function isAnothers(address: number, from: Place, directory: Directory): boolean {
  return address !== from.address && directory.placeAt(address) !== undefined;
}

/** Behind a segment's port any address may turn up that is nobody else's. */
function isOfSegment(mac: MacNumber, from: Place, directory: Directory): boolean {
  return from.segment && (directory.nodeOf(mac) ?? from.node) === from.node;
}

/** The plan has no IPv6 addresses, but those made from a MAC say whose they are. */
function isAnothersIpv6(bytes: Uint8Array, at: number, from: Place, directory: Directory): boolean {
  const mac = interfaceMac(bytes, at + 8);
  return mac !== NO_MAC && (directory.nodeOf(mac) ?? from.node) !== from.node;
}
