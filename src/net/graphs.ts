/** The live graph and those of the last seconds: which way a batch may come while a change spreads. */
import type { Clock } from '../base/clock.ts';
import type { DirectoryEntry } from './directory.ts';
import { createRoutes, type Routes } from './routes.ts';
import type { LiveEdge } from './topology.ts';

/** What a switch is told about its LAN. */
export interface Graph {
  /** Revision of the plan. */
  readonly epoch: number;
  /** Links that carry frames now. */
  readonly edges: readonly LiveEdge[];
  /** The nodes with which we have a link by the plan, whether it lives or not: nobody else's batches are taken. */
  readonly links: readonly number[];
  /** Which addresses live at which node, also of places that are still free: a guest may be heard before we know its peer. */
  readonly directory: readonly DirectoryEntry[];
  /** The master guest's node. It alone may serve DHCP; without one nobody may. */
  readonly server: number | undefined;
}

/**
 * A change of the graph is a flood of notes, and batches that left by the old graph are still under way when it arrives. The slowest
 * wire (a stanza queue at a server that lets 3,000 bytes a second through) has seconds of them; more would only help liars.
 */
const RECENT_MS = 3000;

/** A graph that changes faster than this many times in RECENT_MS costs some batches, and no memory. */
const MAX_RECENT = 8;

export interface Graphs {
  /** What leaves now leaves by this one. */
  readonly current: Routes;
  set(edges: readonly LiveEdge[]): void;
  /** The routes, newest first, by which what `source` sends to `destination` comes to us from `node`; undefined: by none. */
  sentBy(node: number, source: number, destination: number): Routes | undefined;
  /**
   * Who comes next on the way by these routes, while its link lives; else by the current ones. A batch ends its way by the graph that
   * it began it by: where two graphs meet, the newer one may lead straight back, and a change of costs alone must not lose anything.
   */
  onward(routes: Routes, destination: number): number | undefined;
  /**
   * To whom a flood of `source` goes on that comes from `node`, by all graphs that bring it from there; undefined: none does. It does
   * not say which one it left by, and where trees differ the newer one can end here while others still wait by the older one.
   */
  floodedBy(node: number, source: number): readonly number[] | undefined;
}

export function createGraphs(clock: Pick<Clock, 'now'>, self: number): Graphs {
  let current = createRoutes([], self);
  /** Newest first. */
  let recent: { readonly routes: Routes; readonly until: number }[] = [];

  /** Those that are still good. Asked for only when the current graph says no. */
  function fresh() {
    const now = clock.now();
    if (recent.some(({ until }) => until < now)) recent = recent.filter(({ until }) => until >= now);
    return recent;
  }

  return {
    get current() {
      return current;
    },
    set(edges) {
      recent = [{ routes: current, until: clock.now() + RECENT_MS }, ...fresh()].slice(0, MAX_RECENT);
      current = createRoutes(edges, self);
    },
    sentBy(node, source, destination) {
      if (current.previousHop(source, destination) === node) return current;
      for (const { routes } of fresh()) if (routes.previousHop(source, destination) === node) return routes;
      return undefined;
    },
    onward(routes, destination) {
      const hop = routes.nextHop(destination);
      const lives = routes === current || (hop !== undefined && current.neighbours.includes(hop));
      return lives ? hop : current.nextHop(destination);
    },
    floodedBy(node, source) {
      let all = current.parent(source) === node ? current.children(source) : undefined;
      for (const { routes } of fresh()) {
        if (routes.parent(source) !== node) continue;
        const more = routes
          .children(source)
          .filter((child) => !all?.includes(child) && current.neighbours.includes(child));
        all = all ? [...all, ...more] : more;
      }
      return all;
    },
  };
}
