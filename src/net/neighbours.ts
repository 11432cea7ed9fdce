/** The live wires of a switch by neighbour, with totals that outlive a wire. */
import type { Rung, Wire, WireStats } from './wire.ts';

export interface NeighbourStats extends WireStats {
  readonly node: number;
  readonly rung: Rung;
}

interface Neighbour {
  wire: Wire | undefined;
  /** What earlier wires to this node carried. */
  past: WireStats;
}

const NOTHING: WireStats = { sentBytes: 0, receivedBytes: 0, drops: 0, queuedBytes: 0 };

export interface Neighbours {
  attach(node: number, wire: Wire): () => void;
  wire(node: number): Wire | undefined;
  /** Forgets the totals of nodes that are neither kept nor connected. */
  prune(keep: ReadonlySet<number>): void;
  stats(): NeighbourStats[];
}

export function createNeighbours(): Neighbours {
  const all = new Map<number, Neighbour>();
  return {
    attach(node, wire) {
      const neighbour = all.get(node) ?? { wire: undefined, past: NOTHING };
      all.set(node, neighbour);
      retire(neighbour);
      neighbour.wire = wire;
      return () => {
        if (neighbour.wire === wire) retire(neighbour);
      };
    },
    wire: (node) => all.get(node)?.wire,
    prune(keep) {
      for (const [node, { wire }] of all) if (!wire && !keep.has(node)) all.delete(node);
    },
    stats: () =>
      [...all]
        .filter(([, { wire }]) => wire !== undefined)
        .map(([node, { wire, past }]) => ({ node, rung: wire!.rung, ...sum(past, wire!.stats()) })),
  };
}

function retire(neighbour: Neighbour): void {
  if (neighbour.wire) neighbour.past = sum(neighbour.past, neighbour.wire.stats());
  neighbour.wire = undefined;
}

const sum = (a: WireStats, b: WireStats): WireStats => ({
  sentBytes: a.sentBytes + b.sentBytes,
  receivedBytes: a.receivedBytes + b.receivedBytes,
  drops: a.drops + b.drops,
  queuedBytes: b.queuedBytes, // what an earlier wire held is gone with it
});
