/** What a switch remembers of each node that sends: the batches it has seen, what it may still flood, when it was heard. */
import type { Clock } from '../base/clock.ts';
import { createBucket, FROM_WIRE_FACTOR, type Bucket } from './bucket.ts';
import type { Protocol } from './neighbour-proxy.ts';
import { DuplicateWindow } from './window.ts';

export interface Source {
  readonly window: DuplicateWindow;
  readonly bucket: Bucket;
  /** When its guest last spoke from the address that the plan gives it. */
  readonly heard: Record<Protocol, number>;
}

export interface Sources {
  /** Of a node that is on the LAN by the plan; undefined for others, so that nobody can fill our memory. */
  of(node: number): Source | undefined;
  /** Everybody who has a place on the LAN now. Those that stay keep their windows. */
  assign(nodes: readonly number[]): void;
}

export function createSources(clock: Clock): Sources {
  const all = new Map<number, Source | undefined>();
  return {
    of(node) {
      const known = all.get(node);
      if (known || !all.has(node)) return known;
      const source = {
        window: new DuplicateWindow(),
        bucket: createBucket(clock, FROM_WIRE_FACTOR),
        heard: { ipv4: -Infinity, ipv6: -Infinity },
      };
      all.set(node, source);
      return source;
    },
    assign(nodes) {
      const keep = new Set(nodes);
      for (const node of all.keys()) if (!keep.has(node)) all.delete(node);
      for (const node of keep) if (!all.has(node)) all.set(node, undefined);
    },
  };
}
