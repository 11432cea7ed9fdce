/** A whole LAN in memory: a switch with a port per node, a memory wire per edge. */
import type { Batch } from '../../src/net/wire.ts';
import { createSwitch, type Switch } from '../../src/net/switch.ts';
import { topologyEdges, type LiveEdge, type TopologyShape } from '../../src/net/topology.ts';
import { memoryPair } from '../../src/wire/memory.ts';
import { addressOf, macOf, textOf } from './frames.ts';
import { createMemoryPort, type MemoryPort } from './memory-port.ts';

export const LAN = 7;

export interface LanNode {
  readonly switch: Switch;
  readonly port: MemoryPort;
  /** What its guest has heard, as text. */
  readonly heard: () => string[];
}

export interface TestLan {
  readonly nodes: ReadonlyMap<number, LanNode>;
  node(number: number): LanNode;
  /** Lets batches travel until none is under way; the number of hops they took. Throws when it does not end. */
  settle(): Promise<number>;
  setGraph(epoch: number, edges: readonly LiveEdge[], at?: readonly number[]): void;
}

/** All of a node's links. */
export const linksOf = (edges: readonly LiveEdge[], node: number): number[] =>
  edges.filter(([a, b]) => a === node || b === node).map(([a, b]) => (a === node ? b : a));

const clock = { now: () => performance.now(), after: () => () => {}, every: () => () => {} };

export function createLan(topology: TopologyShape, numbers: readonly number[], maxBatch = 65_536): TestLan {
  const nodes = new Map<number, LanNode>(
    numbers.map((node) => {
      const port = createMemoryPort(`guest-${node}`);
      const sw = createSwitch({ node, lan: LAN, clock });
      sw.attachPort(port);
      return [node, { switch: sw, port, heard: () => port.frames.map(textOf) }];
    }),
  );
  let hops = 0;
  const edges = topologyEdges(topology, numbers);
  for (const [a, b] of edges) {
    const into = (to: number, from: number) => (batch: Batch) => {
      hops++;
      if (hops > 100_000) throw new Error('frames go round for ever');
      nodes.get(to)!.switch.fromWire(from, batch);
    };
    const [left, right] = memoryPair({ onBatch: [into(a, b), into(b, a)], maxBatch });
    nodes.get(a)!.switch.attachWire(b, left);
    nodes.get(b)!.switch.attachWire(a, right);
  }
  const lan: TestLan = {
    nodes,
    node: (number) => nodes.get(number)!,
    async settle() {
      const before = hops;
      // All deliveries are microtasks; a macrotask runs after the last of them.
      await new Promise((resolve) => setImmediate(resolve));
      return hops - before;
    },
    setGraph(epoch, graph, at = numbers) {
      const directory = numbers.map((node) => ({ node, mac: macOf(node), address: addressOf(node) }));
      for (const node of at) {
        nodes.get(node)!.switch.setGraph({ epoch, edges: graph, links: linksOf(graph, node), directory, server: 1 });
      }
    },
  };
  lan.setGraph(1, edges);
  return lan;
}
