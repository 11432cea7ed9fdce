/** One guest of one LAN on this machine: its switch, its links as the plan names them, and the guest itself. */
import type { Clock } from '../base/clock.ts';
import { describeError, isAbort, KithError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { RunHandler } from '../net/port.ts';
import { createSwitch, type Switch } from '../net/switch.ts';
import { topologyEdges } from '../net/topology.ts';
import type { Batch, Rung, Wire } from '../net/wire.ts';
import type { GuestReport, GuestState, LinkReport } from '../protocol/messages.ts';
import type { Plan, PlannedGuest } from '../protocol/plan.ts';
import type { GuestConsole, RunningGuest } from '../guest/guest.ts';
import { keepLink, type LinkState } from '../wire/link.ts';

/** Opens one wire to a peer. `offer` is true at exactly one of both ends. */
export interface WireRequest {
  readonly rung: Rung;
  readonly peer: string;
  /** Names the link in signals, the same at both ends. */
  readonly channel: string;
  readonly offer: boolean;
  readonly onBatch: (batch: Batch) => void;
  readonly signal: AbortSignal;
}

export interface HostingDeps {
  /** Our full JID. */
  readonly self: string;
  readonly openWire: (request: WireRequest) => Promise<Wire>;
  /** Fetches the image if need be and boots; `onState` tells `fetching` and `booting`. */
  readonly boot: (order: {
    readonly plan: Plan;
    readonly guest: PlannedGuest;
    readonly onRun: RunHandler;
    readonly onState: (state: GuestState) => void;
    readonly onConsole: (console: GuestConsole) => void;
    readonly signal: AbortSignal;
  }) => Promise<RunningGuest>;
  readonly clock: Clock;
  readonly log: Log;
  /** Something that the initiator should know changed. */
  readonly onChange: () => void;
}

export interface Hosting extends AsyncDisposable {
  readonly plan: Plan;
  readonly guest: PlannedGuest;
  readonly running: RunningGuest | undefined;
  /** From power-on, also of a guest that never comes up. */
  readonly console: GuestConsole | undefined;
  /** A newer revision: links come and go, the guest stays. */
  apply(plan: Plan): void;
  report(): Promise<GuestReport>;
  /** Closes the links to these peers, whatever the plan says, until a plan comes without them. */
  cut(who: (peer: string) => boolean): void;
}

export function openHosting(first: Plan, deps: HostingDeps): Hosting {
  const planned = guestOf(first, deps.self);
  const log = deps.log.child({ job: first.job.name, guest: planned.name });
  const stop = new AbortController();
  const sw = createSwitch({ node: planned.node, lan: first.lan.id, clock: deps.clock, mtu: first.lan.mtu });
  const links = new Map<number, { readonly peer: string; readonly link: AsyncDisposable; state: LinkState }>();
  const ending: Promise<void>[] = [];
  let plan = first;
  let state: GuestState = 'fetching';
  let reason: string | undefined;
  let running: RunningGuest | undefined;
  let terminal: GuestConsole | undefined;

  const change = (next: GuestState, why?: string) => {
    if (state === next && reason === why) return;
    state = next;
    reason = why;
    log.info(`guest ${next}`, { reason: why });
    deps.onChange();
  };

  const apply = (next: Plan) => {
    plan = next;
    const peers = new Map(plan.guests.map((guest) => [guest.node, guest.peer]));
    const graph = topologyEdges(plan.lan.topology, [...peers.keys()]);
    const wanted = new Set(
      graph.filter((edge) => edge.includes(planned.node)).map(([a, b]) => (a === planned.node ? b : a)),
    );
    sw.setGraph({
      epoch: plan.job.revision & 0xffff,
      edges: graph,
      links: [...wanted],
      directory: plan.lan.slots,
      server: plan.guests.find(({ role }) => role === 'master')?.node,
    });
    for (const [node, { peer, link }] of links) {
      if (wanted.has(node) && peers.get(node) === peer) continue;
      links.delete(node);
      ending.push(Promise.resolve(link[Symbol.asyncDispose]()));
    }
    for (const node of wanted) {
      const peer = peers.get(node);
      if (peer && !links.has(node)) links.set(node, open(node, peer));
    }
  };

  const open = (node: number, peer: string) => {
    const [low, high] = planned.node < node ? [planned.node, node] : [node, planned.node];
    const request = (rung: Rung) => (signal: AbortSignal) =>
      deps.openWire({
        rung,
        peer,
        channel: `link:${plan.job.id}:${low}-${high}`,
        offer: planned.node === low,
        onBatch: (batch) => sw.fromWire(node, batch),
        signal,
      });
    const entry = {
      peer,
      state: { wire: 'down' } as LinkState,
      link: keepLink({
        rungs: plan.wires.filter((rung) => rung === 'webrtc' || rung === 'stanza'),
        open: { webrtc: request('webrtc'), stanza: request('stanza') },
        attach: (wire) => sw.attachWire(node, wire),
        clock: deps.clock,
        log: log.child({ link: `${low}-${high}` }),
        onState: (next) => {
          entry.state = next;
          deps.onChange();
        },
        signal: stop.signal,
      }),
    };
    return entry;
  };

  const boot = async () => {
    try {
      running = await deps.boot({
        plan: first,
        guest: planned,
        onRun: (run, headroom) => sw.fromPort(run, headroom),
        onState: change,
        onConsole: (opened) => {
          terminal = opened;
        },
        signal: stop.signal,
      });
      if (stop.signal.aborted) {
        await running[Symbol.asyncDispose](); // the end came between the last look of the boot and here
        return;
      }
      sw.attachPort(running.port);
      change('up');
      const why = await running.exited;
      change('stopped', why);
    } catch (error) {
      if (!(stop.signal.aborted && isAbort(error))) change('failed', describeError(error).slice(0, 1000));
    }
  };

  apply(first);
  const booted = boot();
  let disposed: Promise<void> | undefined;

  return {
    guest: planned,
    get plan() {
      return plan;
    },
    get running() {
      return running;
    },
    get console() {
      return terminal;
    },
    apply,
    async report() {
      const residentMiB = await running?.residentMiB();
      return {
        state,
        ...(reason === undefined ? {} : { reason }),
        ...(running
          ? { bootSeconds: Math.round(running.bootSeconds * 100) / 100, accelerator: running.accelerator }
          : {}),
        ...(residentMiB === undefined ? {} : { residentMiB }),
        links: linkReports(planned.node, links, sw),
      };
    },
    cut(who) {
      for (const [node, { peer, link }] of links) {
        if (!who(peer)) continue;
        links.delete(node);
        ending.push(Promise.resolve(link[Symbol.asyncDispose]()));
      }
    },
    [Symbol.asyncDispose]() {
      disposed ??= (async () => {
        stop.abort();
        const all = [...links.values()].map(({ link }) => link);
        links.clear();
        await Promise.allSettled([...ending, ...all.map((link) => link[Symbol.asyncDispose]())]);
        await running?.[Symbol.asyncDispose]();
        await booted;
      })();
      return disposed;
    },
  };
}

function linkReports(
  self: number,
  links: ReadonlyMap<number, { readonly state: LinkState }>,
  sw: Switch,
): LinkReport[] {
  const stats = new Map(sw.stats().neighbours.map((neighbour) => [neighbour.node, neighbour]));
  return [...links].map(([node, { state }]) => {
    const counted = stats.get(node);
    return {
      from: self,
      to: node,
      wire: state.wire,
      ...(state.reason === undefined ? {} : { reason: state.reason.slice(0, 300) }),
      sentBytes: counted?.sentBytes ?? 0,
      receivedBytes: counted?.receivedBytes ?? 0,
      drops: counted?.drops ?? 0,
    };
  });
}

/** Our guest of a plan, or a refusal: a plan that does not name us is none of ours. */
export function guestOf(plan: Plan, self: string): PlannedGuest {
  const guest = plan.guests.find(({ peer }) => peer === self);
  if (!guest)
    throw new KithError({ code: 'job.not-in-plan', message: 'the plan has no guest for this peer', retry: 'never' });
  return guest;
}
