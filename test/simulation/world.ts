/** A LAN of real switches and real link state over memory links with latency, in virtual time: what a scenario plays with. */
import { NOTE, typeOf } from '../../src/net/batch.ts';
import { createLinkState, type LinkState } from '../../src/net/link-state.ts';
import { createSwitch, type Switch } from '../../src/net/switch.ts';
import type { Edge, LiveEdge } from '../../src/net/topology.ts';
import type { Batch, Wire } from '../../src/net/wire.ts';
import { addressOf, macOf } from '../harness/frames.ts';
import { virtualClock } from '../harness/virtual-clock.ts';
import { fakeNotary } from './notary.ts';
import type { Random } from './random.ts';
import { createTraffic, type Traffic } from './traffic.ts';

export interface Place {
  readonly number: number;
  sw: Switch;
  state: LinkState;
  /** Gives its switch the links that live, and those that there may be. */
  use: (edges: readonly LiveEdge[]) => void;
  alive: boolean;
  /** When its view of the graph last changed. */
  changedAt: number;
  /** What earlier lives of it dropped. */
  readonly dropped: Map<string, number>;
}

export interface Line {
  readonly a: number;
  readonly b: number;
  readonly latency: number;
  cost: number;
  /** up; cut: both ends know; silent: nothing arrives and nobody knows yet. */
  state: 'up' | 'cut' | 'silent';
  /** Batches of an earlier life of the line do not arrive. */
  life: number;
}

/** Hellos notice after three of 500 ms (wire/ladder.ts). */
export const SILENT_MS = 1500;
const LAN = 7;
const MAX_BATCH = 65_536;
/** A round trip in tenths of a millisecond, and a hop (net/cost.ts). */
export const usualCost = ({ latency }: Pick<Line, 'latency'>): number => Math.round(latency * 20) + 50;
const NOBODY: readonly number[] = [];
const NEVER = new Promise<string>(() => {});

export interface World {
  readonly clock: ReturnType<typeof virtualClock>;
  readonly places: ReadonlyMap<number, Place>;
  readonly lines: readonly Line[];
  readonly traffic: Traffic;
  readonly notes: { sent: number; bytes: number };
  linesOf(node: number): Line[];
  cut(line: Line): void;
  silence(line: Line): void;
  heal(line: Line): void;
  changeCost(line: Line, cost: number): void;
  /** Explicit: its peers see the wires close. Otherwise they hear nothing more. */
  kill(node: number, explicit: boolean): void;
  /** With nothing in its memory. */
  restart(node: number): void;
  /** A plan that spreads: each node has it at some moment within `ms`. */
  plan(edges: readonly Edge[], ms: number): void;
  /** The links that carry frames, by the truth. */
  truth(): LiveEdge[];
  drops(): Map<string, number>;
  dispose(): void;
}

export function createWorld(options: {
  readonly nodes: readonly number[];
  readonly edges: readonly Edge[];
  readonly random: Random;
  /** Share of notes that vanish on the way. */
  readonly noteLoss: number;
  readonly latency: () => number;
}): World {
  const { random, noteLoss, latency } = options;
  const clock = virtualClock();
  const places = new Map<number, Place>();
  const lines: Line[] = [];
  const around = new Map<number, Line[]>();
  const beside = new Map<number, number[]>();
  const lineOf = new Map<number, Line>();
  const notary = fakeNotary();
  const notes = { sent: 0, bytes: 0 };
  const directory = options.nodes.map((node) => ({ node, mac: macOf(node), address: addressOf(node) }));
  let planned: readonly Edge[] = [];
  const plans = new Map<number, readonly Edge[]>();
  const traffic = createTraffic(clock, options.nodes, (node) => {
    const place = places.get(node);
    return place?.alive ? place.sw : undefined;
  });

  const keyOf = (a: number, b: number) => Math.min(a, b) * 65_536 + Math.max(a, b);
  const otherEnd = (line: Line, node: number) => (line.a === node ? line.b : line.a);

  function addLine([a, b]: Edge): void {
    if (lineOf.has(keyOf(a, b))) return;
    const line: Line = { a, b, latency: latency(), cost: 0, state: 'cut', life: 0 };
    line.cost = usualCost(line);
    lines.push(line);
    lineOf.set(keyOf(a, b), line);
    for (const node of [a, b]) {
      around.set(node, [...(around.get(node) ?? []), line]);
      beside.set(node, [...(beside.get(node) ?? []), otherEnd(line, node)]);
    }
  }

  function wireOf(line: Line, from: number): Wire {
    const to = otherEnd(line, from);
    const { life } = line;
    const send = (batch: Batch): boolean => {
      if (line.life !== life || line.state === 'cut') return false;
      const isNote = typeOf(batch) === NOTE;
      if (isNote) {
        notes.sent++;
        notes.bytes += batch.length;
        if (noteLoss > 0 && random.chance(noteLoss)) return true;
      } else traffic.onSend(from, batch);
      // A note comes in memory of its own, and whoever hears it keeps a copy.
      const copy = isNote ? batch : batch.slice();
      clock.after(line.latency, () => {
        const place = places.get(to)!;
        if (line.life !== life || line.state !== 'up' || !place.alive) return;
        if (isNote) place.sw.fromWire(from, copy);
        else traffic.onArrive(to, copy, () => place.sw.fromWire(from, copy));
      });
      return true;
    };
    return {
      rung: 'memory',
      maxBatch: MAX_BATCH,
      send,
      stats: () => ({ sentBytes: 0, receivedBytes: 0, drops: 0, queuedBytes: 0 }),
      closed: NEVER,
      [Symbol.asyncDispose]: async () => {},
    };
  }

  function born(number: number): Pick<Place, 'sw' | 'state' | 'use'> {
    const sw = createSwitch({ node: number, lan: LAN, clock, onNote: (from, payload) => state.receive(from, payload) });
    const use = (edges: readonly LiveEdge[]) => {
      const place = places.get(number);
      if (place) place.changedAt = clock.now();
      sw.setGraph({ epoch: 1, edges, links: beside.get(number) ?? NOBODY, directory, server: 1 });
    };
    const state = createLinkState({
      self: number,
      context: 'simulation',
      clock,
      random,
      sign: (bytes) => notary.sign(number, bytes),
      verify: notary.verify,
      send: (node, payload) => sw.sendNote(node, payload),
      onChange: use,
    });
    sw.attachPort({
      name: `guest-${number}`,
      closed: NEVER,
      send: (run) => traffic.onDeliver(number, run),
    });
    use([]);
    state.setPlan(plans.get(number) ?? planned);
    return { sw, state, use };
  }

  const detach = new Map<string, () => void>();

  /** One end learns that its wire is there. */
  function open(line: Line, at: number): void {
    const place = places.get(at)!;
    if (!place.alive) return;
    const to = otherEnd(line, at);
    detach.set(`${at} ${to}`, place.sw.attachWire(to, wireOf(line, at)));
    place.state.setLink(to, { cost: line.cost, maxBatch: MAX_BATCH });
  }

  /** One end learns that its wire is gone. */
  function shut(line: Line, at: number): void {
    const place = places.get(at)!;
    if (!place.alive) return;
    const to = otherEnd(line, at);
    detach.get(`${at} ${to}`)?.();
    place.state.setLink(to, undefined);
  }

  function soon(line: Line, ms: number, task: () => void): void {
    const { life } = line;
    clock.after(ms, () => {
      if (line.life === life) task();
    });
  }

  function heal(line: Line): void {
    if (line.state === 'up' || !places.get(line.a)?.alive || !places.get(line.b)?.alive) return;
    if (line.state === 'silent') cut(line);
    line.state = 'up';
    line.life++;
    // The end that connects knows first.
    const [first, second] = random.chance(0.5) ? [line.a, line.b] : [line.b, line.a];
    open(line, first);
    soon(line, line.latency, () => open(line, second));
  }

  function cut(line: Line): void {
    if (line.state === 'cut') return;
    line.state = 'cut';
    line.life++;
    const [first, second] = random.chance(0.5) ? [line.a, line.b] : [line.b, line.a];
    shut(line, first);
    soon(line, line.latency, () => shut(line, second));
  }

  function silence(line: Line): void {
    if (line.state !== 'up') return;
    line.state = 'silent';
    soon(line, SILENT_MS, () => {
      line.state = 'cut';
      for (const node of [line.a, line.b]) shut(line, node);
    });
  }

  function bury(place: Place): void {
    place.alive = false;
    place.state[Symbol.dispose]();
    for (const [reason, count] of Object.entries(place.sw.stats().dropped)) {
      place.dropped.set(reason, (place.dropped.get(reason) ?? 0) + count);
    }
  }

  function setPlan(node: number, edges: readonly Edge[]): void {
    plans.set(node, edges);
    const place = places.get(node);
    if (!place?.alive) return;
    place.use(place.state.edges);
    place.state.setPlan(edges);
  }

  planned = options.edges;
  for (const edge of planned) addLine(edge);
  for (const number of options.nodes) {
    places.set(number, { number, alive: true, changedAt: 0, dropped: new Map(), ...born(number) });
  }
  for (const line of lines) heal(line);

  return {
    clock,
    places,
    lines,
    traffic,
    notes,
    linesOf: (node) => around.get(node) ?? [],
    cut,
    silence,
    heal,
    changeCost(line, cost) {
      line.cost = cost;
      if (line.state !== 'up') return;
      for (const node of [line.a, line.b]) {
        const place = places.get(node)!;
        const tell = () => place.state.setLink(otherEnd(line, node), { cost: line.cost, maxBatch: MAX_BATCH });
        soon(line, random.below(40), () => place.alive && tell());
      }
    },
    kill(node, explicit) {
      const place = places.get(node)!;
      if (!place.alive) return;
      bury(place);
      for (const line of around.get(node) ?? []) {
        if (explicit) cut(line);
        else silence(line);
      }
    },
    restart(node) {
      const place = places.get(node)!;
      if (place.alive) this.kill(node, true);
      Object.assign(place, born(node), { alive: true });
      for (const line of around.get(node) ?? []) clock.after(100 + random.below(200), () => heal(line));
    },
    plan(edges, ms) {
      const old = planned;
      planned = edges;
      for (const edge of edges) addLine(edge);
      const wanted = new Set(edges.map(([a, b]) => keyOf(a, b)));
      for (const node of options.nodes) clock.after(random.below(ms), () => edges === planned && setPlan(node, edges));
      clock.after(ms, () => {
        if (edges !== planned) return;
        for (const [a, b] of old) if (!wanted.has(keyOf(a, b))) cut(lineOf.get(keyOf(a, b))!);
        for (const key of wanted) heal(lineOf.get(key)!);
      });
    },
    truth() {
      const wanted = new Set(planned.map(([a, b]) => keyOf(a, b)));
      return lines
        .filter((line) => line.state === 'up' && wanted.has(keyOf(line.a, line.b)))
        .map(({ a, b, cost }) => [a, b, cost] as const);
    },
    drops() {
      const sum = new Map<string, number>();
      for (const place of places.values()) {
        const now = place.alive ? Object.entries(place.sw.stats().dropped) : [];
        for (const [reason, count] of [...now, ...place.dropped]) sum.set(reason, (sum.get(reason) ?? 0) + count);
      }
      return sum;
    },
    dispose() {
      for (const { state } of places.values()) state[Symbol.dispose]();
    },
  };
}
