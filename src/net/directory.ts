/** Which node a MAC address lives at: the plan's word first, then what was learned from the frames of each node. */

/** An address as a number: 48 bits fit a double exactly, and a number is the cheapest key of a Map. */
export type MacNumber = number;

/** A guest that makes up source addresses must not cost memory; the oldest learned address goes first. */
const MAX_LEARNED = 4096;

const GROUP_BIT = 0x01;

export const macAt = (bytes: Uint8Array, at: number): MacNumber =>
  ((bytes[at]! << 8) | bytes[at + 1]!) * 0x1_0000_0000 +
  (((bytes[at + 2]! << 24) | (bytes[at + 3]! << 16) | (bytes[at + 4]! << 8) | bytes[at + 5]!) >>> 0);

/** `02:6b:00:00:00:01` as a number. */
export const macNumber = (text: string): MacNumber => Number.parseInt(text.replaceAll(':', ''), 16);

/** Broadcast and multicast (IEEE 802.3, 3.2.3: the lowest bit of the first octet). */
export const isGroup = (bytes: Uint8Array, at: number): boolean => (bytes[at]! & GROUP_BIT) !== 0;

export interface Directory {
  /** Replaces what the plan says; learned addresses that it names are forgotten. */
  assign(entries: readonly { readonly mac: string; readonly node: number }[]): void;
  nodeOf(mac: MacNumber): number | undefined;
  /** False: the plan gave this address to another node, so the frame is forged. Otherwise the address is now known to live at `node`. */
  learn(mac: MacNumber, node: number): boolean;
  /** Forgets what was learned from a node that has left. */
  forget(keep: ReadonlySet<number>): void;
}

export function createDirectory(): Directory {
  let assigned = new Map<MacNumber, number>();
  const learned = new Map<MacNumber, number>();
  return {
    assign(entries) {
      assigned = new Map(entries.map(({ mac, node }) => [macNumber(mac), node]));
      for (const mac of assigned.keys()) learned.delete(mac);
    },
    nodeOf: (mac) => assigned.get(mac) ?? learned.get(mac),
    learn(mac, node) {
      const owner = assigned.get(mac);
      if (owner !== undefined) return owner === node;
      if (learned.get(mac) === node) return true;
      learned.delete(mac);
      learned.set(mac, node);
      if (learned.size > MAX_LEARNED) learned.delete(learned.keys().next().value!);
      return true;
    },
    forget(keep) {
      for (const [mac, node] of learned) if (!keep.has(node)) learned.delete(mac);
    },
  };
}
