/** Why frames and batches are dropped: a counter each, never a log line. */

/** Frames of our guest are counted one by one, everything else by the batch. */
export type DropReason =
  /** Not whole frames of legal length, or not a batch of our version. */
  | 'malformed'
  /** Larger than the LAN's MTU, or than a batch of the wire it has to take. */
  | 'too-large'
  /** Its source address is a group, or belongs to another node by the plan. */
  | 'forged'
  /** For an address behind our own port. */
  | 'local'
  | 'other-lan'
  /** From a peer that has no link with us by the plan. */
  | 'not-neighbour'
  /** From a node that is not on the LAN, or seemingly from ourselves. */
  | 'bad-source'
  /** A flood that did not come from our parent in its tree. */
  | 'reverse-path'
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
