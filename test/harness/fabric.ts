/** A LAN of whole fabrics: real switches, link state and ladders, over wires in memory and time that stands still. */
import { setImmediate as turn } from 'node:timers/promises';
import { silentLog } from '../../src/base/log.ts';
import { checkJob } from '../../src/job/define.ts';
import type { JobDefinition } from '../../src/job/define.ts';
import { openFabric, type Fabric, type Notary } from '../../src/job/fabric.ts';
import type { WireRequest } from '../../src/job/link.ts';
import { makePlan } from '../../src/job/plan.ts';
import type { Wire } from '../../src/net/wire.ts';
import type { Plan } from '../../src/protocol/plan.ts';
import type { LinkRung } from '../../src/protocol/messages.ts';
import { memoryPair } from '../../src/wire/memory.ts';
import { frame, runOfFrames, textOf } from './frames.ts';
import { createMemoryPort } from './memory-port.ts';
import { trustingNotary } from './notary.ts';
import { virtualClock, type VirtualClock } from './virtual-clock.ts';

export const jidOf = (node: number): string => `node-${node}@x/1`;

export function planOf(
  topology: JobDefinition['topology'],
  nodes: readonly number[],
  revision = 1,
  peerOf: (node: number) => string = jidOf,
): Plan {
  return makePlan({
    job: checkJob({ name: 'test', topology, worker: { max: Math.max(...nodes, 2) } }),
    id: '00000000-0000-4000-8000-000000000000',
    revision,
    initiator: jidOf(1),
    members: nodes.map((node) => ({ peer: peerOf(node), node })),
    images: { micro: { name: 'micro', hash: 'a'.repeat(64), bytes: 1000 } },
    wires: ['direct', 'webrtc', 'stanza'],
    masterKey: `ssh-ed25519 ${'A'.repeat(68)}`,
  });
}

export interface FabricNode {
  readonly fabric: Fabric;
  /** What its guest has heard, as text. */
  heard(): string[];
  /** Its guest says something to another one. */
  say(to: number, text: string): void;
}

export interface Fabrics extends AsyncDisposable {
  readonly clock: VirtualClock;
  readonly nodes: ReadonlyMap<number, FabricNode>;
  at(node: number): FabricNode;
  /** By the next plan another peer has this node's place: the old one has gone, the others hear of it. */
  replace(node: number, plan: Plan): Promise<void>;
  /** Its machine loses power: nobody is told, its wires are silent, nothing of it opens any more. */
  kill(node: number): void;
  /** Rungs that open from now on, of all links. */
  readonly works: Set<LinkRung>;
  /** Closes the wires of one link, as a cable that is cut does. */
  cut(a: number, b: number): void;
  wireOf(a: number, b: number): string | undefined;
  pass(ms: number): Promise<void>;
  until(what: () => boolean): Promise<void>;
}

const STEP_MS = 10;

export function openFabrics(plan: Plan, notary: (node: number) => Notary = () => trustingNotary): Fabrics {
  const clock = virtualClock();
  const works = new Set<LinkRung>(['direct', 'webrtc', 'stanza']);
  const dead = new Set<string>();
  const open = new Map<string, Set<Wire>>();
  const waiting = new Map<string, { readonly request: WireRequest; readonly give: (wire: Wire) => void }>();

  /** Whoever comes second to a channel joins both. */
  const openWire = (self: string) => (request: WireRequest) =>
    new Promise<Wire>((resolve, reject) => {
      const { channel, peer, rung, signal, onBatch } = request;
      signal.addEventListener('abort', () => reject(signal.reason as Error));
      if (!works.has(rung)) return request.offer ? reject(new Error(`no ${rung} here`)) : undefined;
      const other = waiting.get(channel);
      if (!other || other.request.peer !== self || other.request.signal.aborted) {
        waiting.set(channel, { request, give: resolve });
        return;
      }
      waiting.delete(channel);
      const gone = () => dead.has(self) || dead.has(peer);
      const [mine, theirs] = memoryPair({
        clock,
        latencyMs: rung === 'stanza' ? 50 : 1,
        onBatch: [(batch) => gone() || onBatch(batch), (batch) => gone() || other.request.onBatch(batch)],
        ...(rung === 'stanza' ? { maxBatch: 11_998 } : {}),
      });
      for (const wire of [mine, theirs]) keep([self, peer].toSorted().join(), wire);
      other.give(theirs);
      resolve(mine);
    });
  const keep = (key: string, wire: Wire) => open.set(key, (open.get(key) ?? new Set()).add(wire));

  const start = (by: Plan, { node, mac, peer }: Plan['guests'][number]): FabricNode => {
    const fabric = openFabric(by, node, {
      openWire: openWire(peer),
      notary: notary(node),
      clock,
      log: silentLog,
      onChange: () => {},
    });
    const port = createMemoryPort();
    fabric.attachPort(port);
    const macOf = (to: number) => plan.lan.slots.find((slot) => slot.node === to)!.mac;
    return {
      fabric,
      heard: () => port.frames.map(textOf),
      say: (to, text) => fabric.fromPort(runOfFrames(frame({ to: macOf(to), from: mac, text }))),
    };
  };
  const nodes = new Map(plan.guests.map((guest) => [guest.node, start(plan, guest)]));
  const pass = async (ms: number) => {
    await turn();
    for (let left = ms; left > 0; left -= STEP_MS) {
      clock.advance(Math.min(left, STEP_MS));
      await turn();
    }
  };
  return {
    clock,
    nodes,
    works,
    at: (node) => nodes.get(node)!,
    async replace(node, next) {
      await nodes.get(node)!.fabric[Symbol.asyncDispose]();
      for (const [other, { fabric }] of nodes) if (other !== node) fabric.apply(next);
      nodes.set(
        node,
        start(
          next,
          next.guests.find((guest) => guest.node === node)!,
        ),
      );
    },
    kill: (node) => void dead.add(jidOf(node)),
    cut(a, b) {
      for (const wire of open.get([jidOf(a), jidOf(b)].toSorted().join()) ?? []) void wire[Symbol.asyncDispose]();
    },
    wireOf: (a, b) =>
      nodes
        .get(a)!
        .fabric.links()
        .find(({ to }) => to === b)?.wire,
    pass,
    async until(what) {
      for (let i = 0; !what(); i++) {
        if (i > 20_000) throw new Error('it never happens');
        await pass(STEP_MS);
      }
    },
    async [Symbol.asyncDispose]() {
      for (const { fabric } of nodes.values()) await fabric[Symbol.asyncDispose]();
    },
  };
}
