/** The graphs that scenarios begin with. */
import { topologyEdges, type Edge } from '../../src/net/topology.ts';
import type { Random } from './random.ts';

/** A full mesh of more would be links only: the plan of a large LAN is a partial one. */
const LARGEST_MESH = 30;

export const SHAPES = [
  'star',
  'two stars',
  'ring',
  'tree',
  'line of ten',
  'mesh',
  'partial mesh',
  'sparse mesh',
] as const;
export type Shape = (typeof SHAPES)[number];

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** Each node but the first with one earlier one. */
const tree = (count: number, random: Random): Edge[] =>
  range(2, count).map((node) => [1 + random.below(node - 1), node]);

/** So many links per node on top of a tree. */
const partial = (count: number, perNode: number, random: Random): Edge[] => [
  ...tree(count, random),
  ...range(1, Math.round(count * perNode)).map((): Edge => [1 + random.below(count), 1 + random.below(count)]),
];

/** Links between the nodes 1 to `count`; a shape that cannot have so many nodes gives the rest to the first node as leaves. */
export function shapeOf(shape: Shape, count: number, random: Random): Edge[] {
  const all = range(1, count);
  const leaves = (core: number) => range(core + 1, count).map((node): Edge => [1 + random.below(core), node]);
  switch (shape) {
    case 'star':
    case 'ring':
      return topologyEdges({ kind: shape }, all);
    case 'two stars':
      return unique([[1, 2], ...range(3, count).map((node): Edge => [1 + (node % 2), node])]);
    case 'tree':
      return unique(tree(count, random));
    case 'line of ten': {
      const line = Math.min(10, count);
      return unique([...range(2, line).map((node): Edge => [node - 1, node]), ...leaves(line)]);
    }
    case 'mesh': {
      const core = Math.min(5 + random.below(LARGEST_MESH - 4), count);
      return unique([...topologyEdges({ kind: 'mesh' }, range(1, core)), ...leaves(core)]);
    }
    case 'partial mesh':
      return unique(partial(count, 1.5, random));
    case 'sparse mesh':
      return unique(partial(count, 0.4, random));
  }
}

const unique = (edges: readonly Edge[]): Edge[] => topologyEdges({ kind: 'edges', edges }, [...new Set(edges.flat())]);
