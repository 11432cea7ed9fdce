/** Who lives where: the MAC and IPv4 address of each node, by the plan and by nothing else. */
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
const addressNumber = (text: string): number => u32At(Uint8Array.from(text.split('.'), Number), 0);

/** Broadcast and multicast (IEEE 802.3, 3.2.3: the lowest bit of the first octet). */
export const isGroup = (bytes: Uint8Array, at: number): boolean => (bytes[at]! & GROUP_BIT) !== 0;

/** One line of the plan: a place on the LAN, taken or free. */
export interface DirectoryEntry {
  readonly node: number;
  readonly mac: string;
  readonly address: string;
}

export interface Place {
  readonly node: number;
  readonly mac: MacNumber;
  readonly address: number;
  /** The master guest: it alone may serve DHCP and be a router. */
  readonly server: boolean;
}

/**
 * Addresses are not learned from frames: a guest has the one that the plan gave it, so a source that is not in the plan is a
 * forgery, and a table that guests cannot write to can neither be poisoned nor filled.
 */
export interface Directory {
  /** Replaces everything. */
  assign(entries: readonly DirectoryEntry[], server: number | undefined): void;
  nodeOf(mac: MacNumber): number | undefined;
  place(node: number): Place | undefined;
  /** The plan gives this IPv4 address to some place. */
  hasAddress(address: number): boolean;
}

export function createDirectory(): Directory {
  let nodes = new Map<MacNumber, number>();
  let places = new Map<number, Place>();
  let addresses = new Set<number>();
  // Frames come in runs for one address, and a comparison is several times cheaper than the Map.
  let lastMac: MacNumber = NO_MAC;
  let lastNode: number | undefined;
  return {
    assign(entries, server) {
      lastMac = NO_MAC;
      const all = entries.map(({ node, mac, address }) => ({
        node,
        mac: macNumber(mac),
        address: addressNumber(address),
        server: node === server,
      }));
      nodes = new Map(all.map(({ mac, node }) => [mac, node]));
      places = new Map(all.map((place) => [place.node, place]));
      addresses = new Set(all.map(({ address }) => address));
    },
    nodeOf(mac) {
      if (mac !== lastMac) {
        lastMac = mac;
        lastNode = nodes.get(mac);
      }
      return lastNode;
    },
    place: (node) => places.get(node),
    hasAddress: (address) => addresses.has(address),
  };
}
