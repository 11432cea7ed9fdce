/** One story, decided by its seed: a LAN of 50 to 200 peers, phases of trouble under traffic, and after each the proof that all is well. */
import type { Edge } from '../../src/net/topology.ts';
import { seeded, type Random } from './random.ts';
import { SHAPES, shapeOf, type Shape } from './shapes.ts';
import type { Sent } from './traffic.ts';
import { newsTime, truthOf, wrongView } from './truth.ts';
import { createWorld, SILENT_MS, usualCost, type Line, type World } from './world.ts';

export interface ScenarioOptions {
  readonly seed: number;
  readonly peers?: readonly [least: number, most: number];
}

export interface ScenarioResult {
  readonly seed: number;
  readonly shape: Shape;
  readonly peers: number;
  readonly events: Readonly<Record<string, number>>;
  readonly sent: number;
  readonly delivered: number;
  readonly dropped: Readonly<Record<string, number>>;
  readonly loops: number;
  readonly duplicates: number;
  readonly mostHops: number;
  /** Milliseconds from the event until the last node routes by the new graph. */
  readonly healing: { readonly cut: readonly number[]; readonly silent: readonly number[] };
  readonly notes: number;
  readonly failure?: string;
}

/** What a cut may take on top of the way of the news (README, goals). */
const EXPLICIT_MS = 200;
/** Notes that come close together are gathered for so long at each hop (link-state.ts). */
const GATHER_MS = 5;
/** After trouble: own notes that wait for their turn, one a second, of the node that has to tell most. */
const QUIET_MS = 6000;
/** With lost notes: summaries come each 10 s and may be lost as well, at each of the hundred hops of a ring. */
const LOSSY_QUIET_MS = 300_000;

/** So long are they remembered, and a moment (net/graphs.ts). */
const RECENT_MS = 3001;

const TICK_MS = 50;

const PHASES = 3;

class Failure extends Error {}

export function runScenario({ seed, peers: [least, most] = [50, 200] }: ScenarioOptions): ScenarioResult {
  const random = seeded(seed);
  const shape = random.pick(SHAPES);
  // More small LANs than large ones: work grows with the square.
  const peers = least + Math.floor((most - least + 1) * random() ** 2);
  const nodes = Array.from({ length: peers }, (_, i) => i + 1);
  const all = shapeOf(shape, peers, random);
  const late = shape === 'ring' ? 0 : random.below(4);
  const slowest = random.pick([2, 10, 40]);
  const noteLoss = random.chance(0.15) ? random() * 0.1 : 0;
  const world = createWorld({
    nodes,
    edges: withoutLast(all, peers - late),
    random,
    noteLoss,
    latency: () => 0.2 + random() * slowest,
  });
  const events: Record<string, number> = {};
  const healing = { cut: [] as number[], silent: [] as number[] };
  let failure: string | undefined;
  try {
    const story = { world, random, nodes, all, late, noteLoss, events, healing };
    settle(story);
    for (let phase = 0; phase < PHASES; phase++) {
      random.pick([cutOne, silenceOne, changeCosts, muchAtOnce, muchAtOnce])(story);
      prove(story);
    }
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    failure = error.message;
  }
  const { traffic } = world;
  if (traffic.loops > 0) failure ??= `${traffic.loops} batches were passed on twice by one node`;
  if (traffic.duplicates > 0) failure ??= `${traffic.duplicates} frames arrived twice`;
  world.dispose();
  return {
    seed,
    shape,
    peers,
    events,
    sent: traffic.sent.length,
    delivered: traffic.sent.reduce((sum, frame) => sum + frame.delivered, 0),
    dropped: Object.fromEntries(world.drops()),
    loops: traffic.loops,
    duplicates: traffic.duplicates,
    mostHops: traffic.mostHops,
    healing,
    notes: world.notes.sent,
    ...(failure === undefined ? {} : { failure }),
  };
}

interface Story {
  readonly world: World;
  readonly random: Random;
  readonly nodes: readonly number[];
  readonly all: readonly Edge[];
  /** So many of the last nodes join later. */
  late: number;
  readonly noteLoss: number;
  readonly events: Record<string, number>;
  readonly healing: { readonly cut: number[]; readonly silent: number[] };
}

const withoutLast = (edges: readonly Edge[], last: number) => edges.filter(([, b]) => b <= last);

const count = (story: Story, event: string) => void (story.events[event] = (story.events[event] ?? 0) + 1);

/** Lets time pass while guests talk: a frame each 50 ms, each tenth for everybody. A few talkers, so that not all trees are needed. */
function talk({ world, random, nodes }: Story, ms: number): void {
  const talkers = Array.from({ length: 4 }, () => random.pick(nodes));
  for (let passed = 0, i = 0; passed < ms; passed += TICK_MS, i++) {
    const isFlood = i % 10 === 9;
    const source = talkers[isFlood ? 0 : i % 4]!;
    world.traffic.send(source, isFlood ? 0 : talkers[(i + 1 + (i % 2)) % 4]!);
    world.clock.advance(TICK_MS);
  }
}

/** Until all nodes see the truth; a failure when that takes longer than it may. */
function settle({ world, noteLoss }: Story): void {
  const end = world.clock.now() + (noteLoss > 0 ? LOSSY_QUIET_MS : QUIET_MS) + 2 * newsTimeFromAnywhere(world);
  const truth = truthOf(world);
  let wrong = wrongView(world, truth);
  while (wrong !== undefined && world.clock.now() < end) {
    world.clock.advance(500);
    wrong = wrongView(world, truth);
  }
  if (wrong !== undefined) throw new Failure(`views do not settle: ${wrong}`);
}

/** On any island, from one shore to the other. */
function newsTimeFromAnywhere(world: World): number {
  const truth = truthOf(world);
  const someOnEach = new Set([...world.places.keys()].map((node) => truth.island(node)));
  return 2 * newsTime(world.lines, [...someOnEach], GATHER_MS);
}

/** In a settled graph each frame arrives exactly once, or is dropped and counted where nothing leads to its destination. */
function prove(story: Story): void {
  const { world, random, nodes } = story;
  settle(story);
  arrive(story);
  // While old graphs are remembered, floods go down their trees as well, and what comes twice is dropped and counted.
  world.clock.advance(RECENT_MS);
  const truth = truthOf(world);
  const before = sumOf(world.drops());
  let lost = 0;
  const frames: Sent[] = [];
  for (let i = 0; i < 24; i++) {
    const source = random.pick(nodes);
    const destination = i % 8 === 7 ? 0 : random.pick(nodes);
    if (destination === source) continue;
    const frame = world.traffic.send(source, destination);
    if (!frame) continue;
    frames.push(frame);
    if (destination !== 0 && truth.island(source) !== truth.island(destination)) lost++;
  }
  arrive(story);
  checkArrived(story, frames, 'in a settled graph');
  const dropped = sumOf(world.drops()) - before;
  if (dropped !== lost) throw new Failure(`${lost} frames had nowhere to go, ${dropped} drops were counted`);
}

const sumOf = (drops: ReadonlyMap<string, number>) => [...drops.values()].reduce((sum, drop) => sum + drop, 0);

/** Whatever is under way arrives. */
function arrive({ world }: Story): void {
  world.clock.advance(8 * newsTimeFromAnywhere(world) + 100);
}

function checkArrived({ world }: Story, frames: readonly Sent[], when: string): void {
  const truth = truthOf(world);
  for (const frame of frames) {
    for (const { number, alive } of world.places.values()) {
      if (number === frame.source || (frame.destination !== 0 && number !== frame.destination)) continue;
      const wanted = alive && truth.island(number) === truth.island(frame.source) ? 1 : 0;
      const got = world.traffic.got(frame, number);
      if (got === wanted) continue;
      const kind = frame.destination === 0 ? 'a flood' : 'a frame';
      throw new Failure(`${kind} of node ${frame.source} came ${got} times to node ${number} ${when}`);
    }
  }
}

/** Those that are up. Where nothing is left, all that is dead or cut comes back first: a star whose hub died is no story. */
function linesUp({ world }: Story): Line[] {
  const up = () => world.lines.filter(({ state }) => state === 'up');
  if (up().length === 0) {
    for (const { number, alive } of world.places.values()) if (!alive) world.restart(number);
    for (const line of world.lines) world.heal(line);
    world.clock.advance(500);
  }
  return up();
}

/** From the event until the last view has changed, and no longer than `may` and the way of the news. */
function measure(story: Story, line: Line, event: 'cut' | 'silent', detection: number): void {
  const { world } = story;
  const start = world.clock.now();
  count(story, event);
  if (event === 'cut') world.cut(line);
  else world.silence(line);
  talk(story, detection + 1000);
  const last = Math.max(...[...world.places.values()].map(({ changedAt }) => changedAt));
  if (story.noteLoss > 0) return;
  settle(story);
  const took = last - start;
  const news = line.latency + newsTime(world.lines, [line.a, line.b], GATHER_MS);
  if (took < 0) throw new Failure(`no view changed after a ${event} link`);
  if (took > detection + EXPLICIT_MS + news) throw new Failure(`a ${event} link took ${took} ms to heal`);
  story.healing[event].push(took);
}

function cutOne(story: Story): void {
  measure(story, story.random.pick(linesUp(story)), 'cut', 0);
}

function silenceOne(story: Story): void {
  measure(story, story.random.pick(linesUp(story)), 'silent', SILENT_MS);
}

/**
 * Costs alone change ways, and lose nothing: each change is told before the next. Where several spread at the same time a
 * frame can be lost (seen with seeds 1420 and 1514 while four overlapped): muchAtOnce has such, and asks for the settled state alone.
 */
function changeCosts(story: Story): void {
  const { world, random, noteLoss } = story;
  arrive(story);
  const first = world.traffic.sent.length;
  for (let i = 0; i < 4; i++) {
    changeCost(story, random.pick(linesUp(story)));
    talk(story, 500);
    settle(story);
  }
  arrive(story);
  if (noteLoss === 0) checkArrived(story, world.traffic.sent.slice(first), 'while only costs changed');
}

function changeCost(story: Story, line: Line): void {
  count(story, 'cost');
  const factor = story.random.pick([0.25, 0.5, 2, 4, 10]);
  story.world.changeCost(line, Math.max(1, Math.min(60_000, Math.round(usualCost(line) * factor))));
}

function muchAtOnce(story: Story): void {
  const { random } = story;
  const times = 1 + random.below(6);
  for (let i = 0; i < times; i++) {
    random.pick(TROUBLE)(story);
    talk(story, random.below(500));
  }
  talk(story, SILENT_MS + 500);
}

const TROUBLE: readonly ((story: Story) => void)[] = [
  (story) => {
    count(story, 'cut');
    story.world.cut(story.random.pick(linesUp(story)));
  },
  (story) => {
    count(story, 'silent');
    story.world.silence(story.random.pick(linesUp(story)));
  },
  (story) => {
    const down = story.world.lines.filter(({ state }) => state === 'cut');
    if (down.length === 0) return;
    count(story, 'heal');
    story.world.heal(story.random.pick(down));
  },
  (story) => changeCost(story, story.random.pick(linesUp(story))),
  (story) => {
    const explicit = story.random.chance(0.5);
    count(story, explicit ? 'leave' : 'death');
    story.world.kill(story.random.pick(story.nodes), explicit);
  },
  (story) => {
    count(story, 'restart');
    story.world.restart(story.random.pick(story.nodes));
  },
  (story) => {
    const dead = [...story.world.places.values()].filter(({ alive }) => !alive);
    if (dead.length === 0) return;
    count(story, 'restart');
    story.world.restart(story.random.pick(dead).number);
  },
  (story) => {
    if (story.late === 0) return;
    count(story, 'join');
    story.late--;
    story.world.plan(withoutLast(story.all, story.nodes.length - story.late), 300);
  },
];
