/** What do shortest paths cost? Prints one tree, all trees and their memory for several graphs: `node test/bench/routing.ts [nodes]`. */
import { createRoutes } from '../../src/net/routes.ts';
import { topologyEdges, type LiveEdge } from '../../src/net/topology.ts';

const [count = 200] = process.argv.slice(2).map(Number);
const nodes = Array.from({ length: count }, (_, i) => i + 1);
let state = 1;
/** A fixed sequence (xorshift), so that all runs measure the same graphs. */
const random = () => {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 2 ** 32;
};
const costed = (edges: readonly LiveEdge[]) =>
  edges.map(([a, b]): LiveEdge => [a, b, 30 + Math.floor(random() * 500), 65_536]);
const some = (degree: number) =>
  nodes.flatMap((node) => Array.from({ length: degree / 2 }, (): LiveEdge => [node, 1 + Math.floor(random() * count)]));

const graphs: Record<string, readonly LiveEdge[]> = {
  star: costed(topologyEdges({ kind: 'star' }, nodes)),
  ring: costed(topologyEdges({ kind: 'ring' }, nodes)),
  'partial mesh, 8 links each': costed(topologyEdges({ kind: 'edges', edges: some(8).map(([a, b]) => [a, b]) }, nodes)),
  mesh: costed(topologyEdges({ kind: 'mesh' }, nodes)),
};

/** Median milliseconds of `task`. */
function time(task: () => void, times = 21): string {
  const taken = Array.from({ length: times }, () => {
    const start = performance.now();
    task();
    return performance.now() - start;
  }).sort((a, b) => a - b);
  return `${taken[times >> 1]!.toFixed(3).padStart(8)} ms`;
}

process.stdout.write(`${count} nodes\n`);
for (const [name, edges] of Object.entries(graphs)) {
  const all = () => {
    const routes = createRoutes(edges, 1);
    for (const node of nodes) routes.children(node);
    return routes;
  };
  all();
  const keep: unknown[] = [];
  globalThis.gc?.();
  const before = process.memoryUsage();
  for (let i = 0; i < 50; i++) keep.push(all());
  globalThis.gc?.();
  const after = process.memoryUsage();
  const bytes = (after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers) / keep.length;
  process.stdout.write(
    `${name.padEnd(28)} ${edges.length.toString().padStart(6)} links` +
      `   graph and one tree ${time(() => createRoutes(edges, 1).nextHop(count))}` +
      `   and all trees ${time(all)}   ${globalThis.gc ? `${Math.round(bytes / 1024)} KiB` : '(memory: node --expose-gc)'}\n`,
  );
}
