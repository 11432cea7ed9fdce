/** From the name of a topology to the links between the nodes that are there. Pure. */

/** The centre of a star that names none, or none that is there: the master guest's node. */
const MASTER = 1;

export type TopologyShape =
  | { readonly kind: 'mesh' | 'ring' }
  | { readonly kind: 'star'; readonly centres?: readonly number[] }
  | { readonly kind: 'edges'; readonly edges: readonly (readonly [number, number])[] };

/** Lower node first. */
export type Edge = readonly [number, number];

/** A link that carries frames now. Cost in tenths of a millisecond (1 if not said); the largest batch that its wire takes. */
export type LiveEdge = readonly [a: number, b: number, cost?: number, maxBatch?: number];

/** Each link once, in a fixed order, so that all peers that know the same nodes have the same graph. */
export function topologyEdges(topology: TopologyShape, nodes: readonly number[]): Edge[] {
  const present = [...new Set(nodes)].sort((a, b) => a - b);
  switch (topology.kind) {
    case 'star':
      return starEdges(present, centreOf(topology.centres, present));
    case 'mesh':
      return present.flatMap((a, i) => present.slice(i + 1).map((b): Edge => [a, b]));
    case 'ring':
      return unique(present.map((node, i) => [node, present[(i + 1) % present.length]!]));
    case 'edges':
      return unique(topology.edges.filter(([a, b]) => present.includes(a) && present.includes(b)));
  }
}

/** The first of these that is there, else the master. */
export const centreOf = (centres: readonly number[] = [], present: readonly number[]): number | undefined =>
  [...centres, MASTER].find((node) => present.includes(node));

function starEdges(present: readonly number[], centre: number | undefined): Edge[] {
  return centre === undefined ? [] : unique(present.filter((node) => node !== centre).map((node) => [centre, node]));
}

function unique(edges: readonly (readonly [number, number])[]): Edge[] {
  const seen = new Map<string, Edge>();
  for (const [a, b] of edges) {
    if (a === b) continue;
    const edge: Edge = a < b ? [a, b] : [b, a];
    seen.set(edge.join('-'), edge);
  }
  return [...seen.values()].sort(([a, b], [c, d]) => a - c || b - d);
}
