/** Why frames and batches are dropped: a counter each, never a log line. */
import type { Fault } from './guard.ts';

/** Frames of our guest are counted one by one, everything else by the batch. */
export type DropReason =
  /** What guests must not do (guard.ts). */
  | Fault
  /** More broadcast, multicast and unknown destinations than one node may send (bucket.ts). */
  | 'storm'
  /** Not whole frames of legal length, or not a batch of our version. */
  | 'malformed'
  /** Larger than the LAN's MTU, or than a batch of the wire it has to take. */
  | 'too-large'
  /** For an address behind our own port. */
  | 'local'
  | 'other-lan'
  /** From a peer that has no link with us by the plan. */
  | 'not-neighbour'
  /** From a node that has no place on the LAN, or seemingly from ourselves. */
  | 'bad-source'
  /** It did not come by the neighbour that is on the way from its source: that neighbour may be posing as it. */
  | 'reverse-path'
  /** It was here before. */
  | 'duplicate'
  | 'ttl'
  /** No path to the node, or the path would lead straight back. */
  | 'unreachable'
  /** The next hop has no live wire. */
  | 'no-wire'
  /** The wire's queue is full. */
  | 'wire-full'
  /** The guest is slow or gone. */
  | 'port-full';

export type DropCounters = Readonly<Record<DropReason, number>>;

export interface Counters {
  readonly counts: DropCounters;
  readonly drop: (reason: DropReason) => void;
}

export function createCounters(): Counters {
  const counts: Record<DropReason, number> = {
    malformed: 0,
    'too-large': 0,
    forged: 0,
    'false-neighbour': 0,
    'stolen-address': 0,
    'rogue-server': 0,
    unreadable: 0,
    storm: 0,
    local: 0,
    'other-lan': 0,
    'not-neighbour': 0,
    'bad-source': 0,
    'reverse-path': 0,
    duplicate: 0,
    ttl: 0,
    unreachable: 0,
    'no-wire': 0,
    'wire-full': 0,
    'port-full': 0,
  };
  return {
    counts,
    drop: (reason) => void counts[reason]++,
  };
}
