/** How fast does a switch forward? Prints frames and Mbit per CPU-second: `node test/bench/switch.ts [frame bytes] [frames per run] [seconds]`. */
import { systemClock } from '../../src/base/clock.ts';
import { createSwitch } from '../../src/net/switch.ts';
import { topologyEdges } from '../../src/net/topology.ts';
import { memoryPair } from '../../src/wire/memory.ts';
import { ethernet, ETHERTYPE, ipv4 } from '../harness/packets.ts';
import { addressOf, macOf, runOfFrames } from '../harness/frames.ts';
import { linksOf } from '../harness/lan.ts';

/** As a guest's port has it (port.ts). */
const HEADROOM = 16;

const [bytes = 1514, perRun = 43, seconds = 2] = process.argv.slice(2).map(Number);
const nodes = [1, 2, 3];
const edges = topologyEdges({ kind: 'star' }, nodes);

let arrived = 0;
const switches = nodes.map((node) => {
  const sw = createSwitch({ node, lan: 1, clock: systemClock });
  sw.setGraph({
    epoch: 1,
    edges,
    links: linksOf(edges, node),
    directory: nodes.map((other) => ({ node: other, mac: macOf(other), address: addressOf(other) })),
    server: 1,
  });
  return sw;
});
const at = (node: number) => switches[node - 1]!;
for (const [a, b] of edges) {
  const [left, right] = memoryPair({
    onBatch: [(batch) => at(a).fromWire(b, batch), (batch) => at(b).fromWire(a, batch)],
    maxBatch: 131_072,
  });
  at(a).attachWire(b, left);
  at(b).attachWire(a, right);
}
for (const node of nodes) {
  at(node).attachPort({
    name: `guest-${node}`,
    closed: new Promise(() => {}),
    send(run) {
      arrived += run.length;
      return true;
    },
  });
}

/** Of this process, so that others on the machine do not count. */
const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

async function measure(name: string, from: number, to: number): Promise<void> {
  const packet = ipv4({ from: addressOf(from), to: addressOf(to), protocol: 6 }, Array<number>(bytes - 34).fill(0));
  const frame = ethernet({ from: macOf(from), to: macOf(to), type: ETHERTYPE.ipv4 }, packet);
  const frames = runOfFrames(...Array.from({ length: perRun }, () => frame));
  const run = new Uint8Array(HEADROOM + frames.length).subarray(HEADROOM);
  run.set(frames);
  for (const timed of [false, true]) {
    arrived = 0;
    const start = cpuMs();
    const end = start + (timed ? seconds : 0.3) * 1000;
    while (cpuMs() < end) {
      for (let i = 0; i < 10; i++) at(from).fromPort(run, HEADROOM);
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (!timed) continue;
    const count = arrived / (bytes + 4) / ((cpuMs() - start) / 1000);
    const mbits = (count * bytes * 8) / 1e6;
    process.stdout.write(
      `${name.padEnd(34)} ${Math.round(count).toString().padStart(10)} frames/s ${Math.round(mbits).toString().padStart(8)} Mbit/s\n`,
    );
  }
}

process.stdout.write(`${bytes} bytes per frame, ${perRun} frames per run, ${seconds} s each\n`);
await measure('port - wire - port (2 switches)', 1, 2);
await measure('port - wire - wire - port (transit)', 2, 3);
