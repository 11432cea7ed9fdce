/** The live wires of a switch by neighbour, with totals that outlive a wire and the round trip of the last probe. */
import type { Clock } from '../base/clock.ts';
import type { Rung, Wire, WireStats } from './wire.ts';

export interface NeighbourStats extends WireStats {
  readonly node: number;
  readonly rung: Rung;
  readonly roundTripMs?: number;
}

interface Neighbour {
  wire: Wire | undefined;
  /** What earlier wires to this node carried. */
  past: WireStats;
  probe: { readonly sequence: number; readonly at: number } | undefined;
  roundTripMs: number | undefined;
}

/** A probe without an answer for this long was lost: a stanza queue of 32 KiB at a server's 3,000 bytes per second takes 11 s. */
const PROBE_LOST_MS = 30_000;

const NOTHING: WireStats = { sentBytes: 0, receivedBytes: 0, drops: 0, queuedBytes: 0 };

export interface Neighbours {
  attach(node: number, wire: Wire): () => void;
  wire(node: number): Wire | undefined;
  /** Notes that a probe with this number leaves now. False: an earlier one may still be answered. */
  probed(node: number, sequence: number): boolean;
  answered(node: number, sequence: number): void;
  /** Forgets the totals of nodes that are neither kept nor connected. */
  prune(keep: readonly number[]): void;
  stats(): NeighbourStats[];
}

export function createNeighbours(clock: Clock): Neighbours {
  const all = new Map<number, Neighbour>();
  return {
    attach(node, wire) {
      const neighbour = all.get(node) ?? { wire: undefined, past: NOTHING, probe: undefined, roundTripMs: undefined };
      all.set(node, neighbour);
      retire(neighbour);
      neighbour.wire = wire;
      return () => {
        if (neighbour.wire === wire) retire(neighbour);
      };
    },
    wire: (node) => all.get(node)?.wire,
    probed(node, sequence) {
      const neighbour = all.get(node);
      if (!neighbour || (neighbour.probe && clock.now() - neighbour.probe.at < PROBE_LOST_MS)) return false;
      neighbour.probe = { sequence, at: clock.now() };
      return true;
    },
    answered(node, sequence) {
      const neighbour = all.get(node);
      if (neighbour?.probe?.sequence !== sequence) return;
      neighbour.roundTripMs = clock.now() - neighbour.probe.at;
      neighbour.probe = undefined;
    },
    prune(keep) {
      for (const [node, { wire }] of all) if (!wire && !keep.includes(node)) all.delete(node);
    },
    stats: () =>
      [...all]
        .filter(([, { wire }]) => wire !== undefined)
        .map(([node, { wire, past, roundTripMs }]) => ({
          node,
          rung: wire!.rung,
          ...sum(past, wire!.stats()),
          ...(roundTripMs === undefined ? {} : { roundTripMs }),
        })),
  };
}

function retire(neighbour: Neighbour): void {
  if (neighbour.wire) neighbour.past = sum(neighbour.past, neighbour.wire.stats());
  neighbour.wire = undefined;
  neighbour.probe = undefined;
  neighbour.roundTripMs = undefined;
}

const sum = (a: WireStats, b: WireStats): WireStats => ({
  sentBytes: a.sentBytes + b.sentBytes,
  receivedBytes: a.receivedBytes + b.receivedBytes,
  drops: a.drops + b.drops,
  queuedBytes: b.queuedBytes, // what an earlier wire held is gone with it
});
