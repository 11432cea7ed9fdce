/** What a LAN should look like, found out without the code under test: who can reach whom, and how long news travels. */
import type { LiveEdge } from '../../src/net/topology.ts';
import type { Line, World } from './world.ts';

export interface Truth {
  readonly edges: readonly LiveEdge[];
  /** The island that a node is on. */
  island(node: number): number;
}

export function truthOf(world: World): Truth {
  const edges = world.truth();
  const above = new Map<number, number>();
  const find = (node: number): number => {
    let at = node;
    for (let up = above.get(at); up !== undefined && up !== at; up = above.get(at)) at = up;
    return at;
  };
  for (const [a, b] of edges) above.set(find(a), find(b));
  const islands = new Map([...world.places.keys()].map((node) => [node, find(node)]));
  return { edges, island: (node) => islands.get(node)! };
}

const nameOf = ([a, b, cost]: LiveEdge) => (a * 65_536 + b) * 65_536 + (cost ?? 1);

/** The first node whose view of its own island is not the truth, and how it differs. */
export function wrongView(world: World, truth: Truth): string | undefined {
  const byIsland = new Map<number, Set<number>>();
  for (const edge of truth.edges) {
    const island = truth.island(edge[0]);
    const known = byIsland.get(island);
    if (known) known.add(nameOf(edge));
    else byIsland.set(island, new Set([nameOf(edge)]));
  }
  for (const place of world.places.values()) {
    if (!place.alive) continue;
    const mine = truth.island(place.number);
    const right = byIsland.get(mine) ?? new Set();
    let found = 0;
    for (const edge of place.state.edges) {
      if (truth.island(edge[0]) !== mine || truth.island(edge[1]) !== mine) continue;
      if (!right.has(nameOf(edge))) return `node ${place.number} sees ${edge.join(' ')}, which is not there`;
      found++;
    }
    if (found !== right.size) return `node ${place.number} sees ${found} of ${right.size} links`;
  }
  return undefined;
}

/** Milliseconds until news from some node has reached all others on its island: links, and a pause at each hop. */
export function newsTime(lines: readonly Line[], from: readonly number[], perHop: number): number {
  const at = new Map<number, number>(from.map((node) => [node, 0]));
  const around = new Map<number, Line[]>();
  for (const line of lines) {
    if (line.state !== 'up') continue;
    for (const node of [line.a, line.b]) around.set(node, [...(around.get(node) ?? []), line]);
  }
  const open = [...from];
  for (const node of open) {
    for (const line of around.get(node) ?? []) {
      const other = line.a === node ? line.b : line.a;
      const arrives = at.get(node)! + line.latency + perHop;
      if (arrives >= (at.get(other) ?? Infinity)) continue;
      at.set(other, arrives);
      open.push(other);
    }
  }
  return Math.max(...at.values());
}
