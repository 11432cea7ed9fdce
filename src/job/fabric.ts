/** One LAN on one peer: the switch, the links that the plan names, and what the links tell the routes. */
import type { Clock } from '../base/clock.ts';
import { KithError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { DropReason } from '../net/counters.ts';
import type { Port, RunHandler } from '../net/port.ts';
import type { MacNumber } from '../net/directory.ts';
import { createLinkState } from '../net/link-state.ts';
import { createSwitch } from '../net/switch.ts';
import { createTap, type Tap } from '../net/tap.ts';
import { topologyEdges, type Edge } from '../net/topology.ts';
import type { Wire } from '../net/wire.ts';
import type { LinkReport } from '../protocol/messages.ts';
import type { Plan } from '../protocol/plan.ts';
import { openLink, type Link, type LinkSettings, type WireRequest } from './link.ts';

/** Signs what switches tell each other, and knows whose word is whose. */
export interface Notary {
  sign(bytes: Uint8Array): Uint8Array;
  /** `peer` is a full JID. Never throws. */
  verify(peer: string, bytes: Uint8Array, signature: Uint8Array): boolean;
}

/** A report is one message (protocol/limits.ts), and 200 links without a word about why take 44 KB of it. */
const MAX_REASON = 200;
const MAX_REASONS = 12_000;
const RUNGS = 3;

/** Links that change together are told of together: a report goes through the chat server. */
const NEWS_MS = 500;

/** What is no longer heard behind our port is no longer told of: a device that moves is refused elsewhere while we say that it is here. */
const FORGET_MS = 60_000;

export interface FabricDeps {
  readonly openWire: (request: WireRequest) => Promise<Wire>;
  readonly notary: Notary;
  readonly clock: Clock;
  readonly log: Log;
  /** A link is on another wire. */
  readonly onChange: () => void;
}

export interface Fabric extends AsyncDisposable {
  /** A newer revision: links come and go. */
  apply(plan: Plan): void;
  /** Plugs the guest in; the returned function unplugs it. */
  attachPort(port: Port): () => void;
  /** Hot path: what the guest sends. */
  readonly fromPort: RunHandler;
  links(): LinkReport[];
  /** What was dropped, by reason; reasons that did not occur are left out. */
  drops(): Partial<Record<DropReason, number>>;
  /** Of our end of the link to this node, while it is there. */
  setLink(node: number, settings: LinkSettings): void;
  /** Where the frames of one link can be looked at; without a node those of the guest, as it sees them. */
  tapOf(node?: number): Tap;
  /** Closes the links to these peers, whatever the plan says, until a plan comes without them. */
  cut(who: (peer: string) => boolean): void;
}

export function openFabric(first: Plan, self: number, deps: FabricDeps): Fabric {
  const { clock, log } = deps;
  const links = new Map<number, Link>();
  const ending = new Set<Promise<void>>();
  /** Peers that were cut off. */
  const severed = new Set<string>();
  let plan = first;
  let planned: readonly Edge[] = [];
  let cancelNews: (() => void) | undefined;
  const behind = new Map<number, readonly MacNumber[]>();
  const guestTap = createTap();
  const sw = createSwitch({
    node: self,
    lan: first.lan.id,
    clock,
    mtu: first.lan.mtu,
    onNote(from, payload) {
      state.receive(from, payload);
      learn();
    },
    onLearned: () => tell(),
  });
  const state = createLinkState({
    self,
    context: `${first.job.id} ${first.lan.id}`,
    clock,
    random: Math.random,
    sign: (bytes) => deps.notary.sign(bytes),
    verify(node, bytes, signature) {
      const origin = plan.guests.find((guest) => guest.node === node);
      return origin !== undefined && deps.notary.verify(origin.peer, bytes, signature);
    },
    send: (node, payload) => sw.sendNote(node, payload),
    onChange: () => route(),
  });

  let present = false;
  const tell = () => state.setGuest({ present, macs: sw.learned() });
  const stopForgetting = clock.every(FORGET_MS, tell);

  /** Where a place is a segment, its notes say what is behind it. */
  const learn = () => {
    for (const { node, segment } of plan.lan.slots) {
      const macs = segment && node !== self ? state.macs(node) : [];
      const before = behind.get(node) ?? [];
      if (macs === before || macs.length + before.length === 0) continue;
      behind.set(node, macs);
      sw.setLearned(node, macs);
    }
  };

  const changed = () => {
    cancelNews ??= clock.after(NEWS_MS, () => {
      cancelNews = undefined;
      deps.onChange();
    });
  };

  const route = () => {
    sw.setGraph({
      epoch: plan.job.revision & 0xffff,
      edges: state.edges,
      links: neighboursIn(planned, self),
      directory: plan.lan.slots,
      server: plan.guests.find(({ role }) => role === 'master')?.node,
    });
  };

  const apply = (next: Plan) => {
    const before = new Map(plan.guests.map((guest) => [guest.node, guest.peer]));
    plan = next;
    const peers = new Map(plan.guests.map((guest) => [guest.node, guest.peer]));
    planned = topologyEdges(plan.lan.topology, [...peers.keys()]);
    // Whoever takes over a place must not be measured by the notes of who had it: numbers that he has not reached, a key not his.
    const taken = (node: number) => before.has(node) && before.get(node) !== peers.get(node);
    state.setPlan(planned.filter(([a, b]) => !taken(a) && !taken(b)));
    const wanted = new Set(neighboursIn(planned, self));
    for (const [node, { peer }] of links) if (!wanted.has(node) || peers.get(node) !== peer) close(node);
    const named = new Set(peers.values());
    for (const peer of severed) if (!named.has(peer)) severed.delete(peer);
    for (const node of wanted) {
      const peer = peers.get(node);
      if (peer !== undefined && !severed.has(peer) && !links.has(node)) links.set(node, open(node, peer));
    }
    state.setPlan(planned);
    route();
  };

  const open = (node: number, peer: string): Link =>
    openLink({
      job: plan.job.id,
      lan: plan.lan.id,
      self,
      node,
      peer,
      wires: plan.wires.filter((rung) => rung !== 'memory'),
      openWire: deps.openWire,
      attach: (wire) => sw.attachWire(node, wire),
      onBatch: (batch) => sw.fromWire(node, batch),
      onQuality: (quality) => state.setLink(node, quality),
      onChange: changed,
      clock,
      log,
    });

  const close = (node: number) => {
    const link = links.get(node);
    links.delete(node);
    const ended = Promise.resolve(link?.[Symbol.asyncDispose]()).finally(() => ending.delete(ended));
    ending.add(ended);
  };

  const linkTo = (node: number): Link => {
    const link = links.get(node);
    if (link) return link;
    throw new KithError({
      code: 'job.no-link',
      message: `node ${self} has no link with node ${node}`,
      hint: 'the topology of the job names the links; kith ps --links shows them',
      retry: 'never',
    });
  };

  apply(first);
  let disposed: Promise<void> | undefined;

  return {
    apply,
    attachPort(port) {
      const detach = sw.attachPort({
        name: port.name,
        closed: port.closed,
        send(run) {
          guestTap.see(run, 'inbound');
          return port.send(run);
        },
      });
      present = true;
      tell();
      return () => {
        detach();
        present = false;
        tell();
      };
    },
    fromPort(run, headroom) {
      guestTap.see(run, 'outbound');
      sw.fromPort(run, headroom);
    },
    links() {
      const each = Math.min(MAX_REASON, Math.floor(MAX_REASONS / RUNGS / Math.max(links.size, 1)));
      return [...links.values()].map((link) => link.report(each));
    },
    drops() {
      const all = Object.entries(sw.stats().dropped) as [DropReason, number][];
      return Object.fromEntries(all.filter(([, count]) => count > 0));
    },
    setLink: (node, settings) => linkTo(node).set(settings),
    tapOf: (node) => (node === undefined ? guestTap : linkTo(node).tap),
    cut(who) {
      for (const { peer } of plan.guests) if (who(peer)) severed.add(peer);
      for (const [node, { peer }] of links) if (severed.has(peer)) close(node);
    },
    [Symbol.asyncDispose]() {
      disposed ??= (async () => {
        for (const node of links.keys()) close(node);
        cancelNews?.();
        stopForgetting();
        state[Symbol.dispose]();
        await Promise.allSettled(ending);
      })();
      return disposed;
    },
  };
}

const neighboursIn = (edges: readonly Edge[], self: number): number[] =>
  edges.filter((edge) => edge.includes(self)).map(([a, b]) => (a === self ? b : a));
