/** Who lives where: the MAC and IPv4 address of each node by the plan, and MAC addresses that were seen behind a segment's port. */
import { u16At, u32At } from './bytes.ts';

/** An address as a number: 48 bits fit a double exactly, and a number is the cheapest key of a Map. */
export type MacNumber = number;

const NO_MAC = -1;
const GROUP_BIT = 0x01;

export const macAt = (bytes: Uint8Array, at: number): MacNumber =>
  u16At(bytes, at) * 0x1_0000_0000 + u32At(bytes, at + 2);

/** `02:6b:00:00:00:01` as a number. */
export const macNumber = (text: string): MacNumber => Number.parseInt(text.replaceAll(':', ''), 16);

/** `10.77.0.1` as a number. */
const addressNumber = (text: string): number => text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);

/** Broadcast and multicast (IEEE 802.3, 3.2.3: the lowest bit of the first octet). */
export const isGroup = (bytes: Uint8Array, at: number): boolean => (bytes[at]! & GROUP_BIT) !== 0;

const isGroupMac = (mac: MacNumber): boolean => (Math.floor(mac / 2 ** 40) & GROUP_BIT) !== 0;

/** One line of the plan: a place on the LAN, taken or free. */
export interface DirectoryEntry {
  readonly node: number;
  readonly mac: string;
  readonly address: string;
  /** More than the guest may be behind this port (a bridge, a host's network card): it may send from MAC addresses that nobody has. */
  readonly segment?: boolean;
}

export interface Place {
  readonly node: number;
  readonly mac: MacNumber;
  readonly address: number;
  /** The master guest: it alone may serve DHCP and be a router. */
  readonly server: boolean;
  readonly segment: boolean;
}

/** What one segment may make others remember: a small office's devices. More come through as floods. */
export const MAX_LEARNED = 64;

/**
 * A guest has the address that the plan gave it, so a source that is not in the plan is a forgery, and a table that guests cannot
 * write to can neither be poisoned nor filled. Only places that the plan calls segments have further addresses: at most
 * MAX_LEARNED each, none that the plan or another segment has.
 */
export interface Directory {
  /** Replaces everything. */
  assign(entries: readonly DirectoryEntry[], server: number | undefined): void;
  /** The node of a MAC address, of the plan or learned. */
  nodeOf(mac: MacNumber): number | undefined;
  place(node: number): Place | undefined;
  /** To whom the plan gives this IPv4 address. */
  placeAt(address: number): Place | undefined;
  /** Replaces what was learned behind a segment's port. Whatever belongs to others, and more than MAX_LEARNED, is left out. */
  setLearned(node: number, macs: readonly MacNumber[]): void;
}

export function createDirectory(): Directory {
  let nodes = new Map<MacNumber, number>();
  let places = new Map<number, Place>();
  let addresses = new Map<number, Place>();
  const learned = new Map<MacNumber, number>();
  // Frames come in runs for one address, and a comparison is several times cheaper than the Map.
  let lastMac: MacNumber = NO_MAC;
  let lastNode: number | undefined;
  return {
    assign(entries, server) {
      lastMac = NO_MAC;
      const all = entries.map(({ node, mac, address, segment = false }) => ({
        node,
        mac: macNumber(mac),
        address: addressNumber(address),
        server: node === server,
        segment,
      }));
      nodes = new Map(all.map(({ mac, node }) => [mac, node]));
      places = new Map(all.map((place) => [place.node, place]));
      addresses = new Map(all.map((place) => [place.address, place]));
      for (const [mac, node] of learned) if (nodes.has(mac) || !places.get(node)?.segment) learned.delete(mac);
    },
    nodeOf(mac) {
      if (mac !== lastMac) {
        lastMac = mac;
        lastNode = nodes.get(mac) ?? learned.get(mac);
      }
      return lastNode;
    },
    place: (node) => places.get(node),
    placeAt: (address) => addresses.get(address),
    setLearned(node, macs) {
      lastMac = NO_MAC;
      for (const [mac, other] of learned) if (other === node) learned.delete(mac);
      if (!places.get(node)?.segment) return;
      const free = macs.filter((mac) => !isGroupMac(mac) && !nodes.has(mac) && !learned.has(mac));
      for (const mac of free.slice(0, MAX_LEARNED)) learned.set(mac, node);
    },
  };
}
