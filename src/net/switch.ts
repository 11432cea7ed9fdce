/**
 * One peer's switch on one LAN: between the guest's port and the wires to other peers. Pure: no sockets, no timers.
 *
 * The way of a frame:
 *   1. The guest sends; its port hands us a run, whatever one read from QEMU brought (fromPort).
 *   2. Each frame passes the guards (guard.ts): nobody else's addresses, no rogue servers, no storms.
 *   3. Neighbouring frames for the same node stay together: one sub-run, one batch. Broadcast, multicast and addresses that
 *      nobody has are for all nodes: a flood. A question for a neighbour who was heard a moment ago we answer ourselves
 *      (neighbour-proxy.ts).
 *   4. The header is written into the 16 bytes in front of the sub-run and both leave as one slice, uncopied: to the next hop of
 *      a shortest path, a flood to each of our children in the tree whose root we are. Batches are cut here, and only here, to
 *      what each wire of the path takes.
 *   5. The next peer (fromWire) refuses what is not for this LAN, has used up its hops, was here before, or comes from a
 *      neighbour that is not on the way from its source: that neighbour could pose as anybody. A batch for somebody else goes on
 *      with one hop less, nothing else read or changed.
 *   6. A flood must come from our parent in the tree of its source. It passes the guards before it goes to our children in that
 *      tree, so that a storm ends at the first honest peer.
 *   7. At the last hop we check that the run is whole frames and put each through the same guards, now for the batch's source:
 *      its peer may be hostile. Then the slice is written to the port.
 * While a change of the graph spreads, the ways of the last seconds are good too (graphs.ts). That can send a batch in a circle,
 * and ends it there: no node passes the same batch on twice (window.ts).
 * Whatever is dropped on the way is counted by its reason. Nothing a guest or a peer sends makes us throw, wait or grow. Nothing is
 * allocated on the way but the one view that a wire or a port is given.
 */
import type { Clock } from '../base/clock.ts';
import {
  cutEnd,
  destinationOf,
  encodeBatch,
  EVERY_WIRE_BYTES,
  FLOOD,
  FRAMES,
  HEADER_BYTES,
  lanOf,
  LENGTH_BYTES,
  lifeOf,
  MAX_FRAME_BYTES,
  MIN_FRAME_BYTES,
  nextFrame,
  NOTE,
  runOf,
  sequenceOf,
  sourceOf,
  ttlOf,
  typeOf,
  writeHeader,
  writeTtl,
  type BatchType,
} from './batch.ts';
import { createBucket, floodCost } from './bucket.ts';
import { createCounters, type DropCounters, type DropReason } from './counters.ts';
import { createDirectory, isGroup, macAt, type DirectoryEntry, type MacNumber } from './directory.ts';
import { createGraphs, type Graph } from './graphs.ts';
import { inspect } from './guard.ts';
import { createLearner } from './learner.ts';
import { neighbourAnswer, speaksFrom, type IsPresent, type Protocol } from './neighbour-proxy.ts';
import { createNeighbours, type NeighbourStats } from './neighbours.ts';
import type { Port, Run } from './port.ts';
import { createSources, type Source } from './sources.ts';
import type { Batch, Wire } from './wire.ts';

export interface SwitchStats {
  readonly neighbours: readonly NeighbourStats[];
  readonly dropped: DropCounters;
}

export interface Switch {
  /** Links and addresses of a new revision of the plan, or the same with other live links. Batches that still travel by the last ones stay welcome. */
  setGraph(graph: Graph): void;
  /** Plugs a guest in; the returned function unplugs it. */
  attachPort(port: Port): () => void;
  /**
   * Hot path, guest to LAN. With `headroom` bytes in front of it that are ours to write (port.ts) a run is not copied. `from` matters
   * only when several ports are attached: it gets nothing of its own back.
   */
  fromPort(run: Run, headroom?: number, from?: Port): void;
  /** The wire to a neighbour. A later one replaces it; the returned function detaches it if it is still there. */
  attachWire(node: number, wire: Wire): () => void;
  /** Hot path, LAN to guest or onwards. The batch's ttl byte may be changed. */
  fromWire(node: number, batch: Batch): void;
  /** Hands a note to the switch of a neighbour. False: no wire, too large, or the wire refused. */
  sendNote(node: number, payload: Uint8Array): boolean;
  /** MAC addresses that were seen behind our own port lately, if the plan calls our place a segment; the guest's is not among them. */
  learned(): readonly MacNumber[];
  /** The same of another node, by its word. */
  setLearned(node: number, macs: readonly MacNumber[]): void;
  stats(): SwitchStats;
}

/** Four bytes of VLAN tag may come on top of the MTU and the Ethernet header (IEEE 802.1Q). */
const MTU_OVERHEAD = MIN_FRAME_BYTES + 4;

/** Room for the largest frame in one batch (69,652 bytes) and some more; a wire that could take larger batches does not get them. */
const SCRATCH_BYTES = 131_072;

/**
 * Slack in hops for ways that are longer while a change of the graph spreads: some steps by the old tree, some by the new. With 2 the
 * chaos simulation lost a flood in 5,000 scenarios. It need not be tight: that nothing goes round is the windows' work.
 */
const TTL_SLACK = 8;
const MAX_TTL = 255;

/** Whoever was heard within this time is there: as long as Linux takes a neighbour's word (base_reachable_time). */
const PRESENT_MS = 30_000;

const NOWHERE = -1;
const NOBODY: readonly number[] = [];

export interface SwitchOptions {
  readonly node: number;
  readonly lan: number;
  readonly clock: Clock;
  /** Payload bytes per frame; without it only QEMU's own limit holds. */
  readonly mtu?: number;
  /** Hears the notes of neighbours. The payload is the callee's until it returns. */
  readonly onNote?: (from: number, payload: Uint8Array) => void;
  /** What `learned` gives has changed. */
  readonly onLearned?: () => void;
  /** Only for tests, which show that an attack works as soon as its guard is away. */
  readonly without?: ReadonlySet<DropReason>;
}

export function createSwitch(options: SwitchOptions): Switch {
  const { node: self, lan, clock, mtu, onNote } = options;
  const maxFrame = mtu === undefined ? MAX_FRAME_BYTES : Math.min(mtu + MTU_OVERHEAD, MAX_FRAME_BYTES);
  const { counts, drop } = createCounters();
  const directory = createDirectory();
  const neighbours = createNeighbours();
  const graphs = createGraphs(clock, self);
  const sources = createSources(clock);
  const without = options.without ?? new Set<DropReason>();
  const bucket = createBucket(clock);
  const learner = createLearner(clock, options.onLearned);
  const ports = new Set<Port>();
  // For batches whose run has no headroom: a wire copies what it keeps, and none calls back from within send().
  let scratch: Uint8Array | undefined;
  /** The header of whatever leaves next. */
  const head = {
    type: FRAMES as BatchType,
    ttl: 1,
    source: self,
    destination: FLOOD,
    lan,
    epoch: 0,
    life: randomBelow(2 ** 16),
    sequence: randomBelow(2 ** 32),
  };
  let links: ReadonlySet<number> = new Set();
  let mine = directory.place(self);
  let addresses: { readonly entries?: readonly DirectoryEntry[]; readonly server?: number | undefined } = {};

  /** The node that the frame at `at` is for, FLOOD, or NOWHERE when it was dropped or answered. */
  function target(run: Run, at: number, length: number, from: Port | undefined): number {
    if (length > maxFrame) return dropFrame('too-large');
    const fault = inspect(run, at, at + length, mine, directory);
    if (fault && !without.has(fault)) return dropFrame(fault);
    if (mine?.segment) learner.heard(macAt(run, at + 6), mine, directory);
    const group = isGroup(run, at);
    const node = group ? undefined : directory.nodeOf(macAt(run, at));
    if (node !== undefined) return node === self && ports.size < 2 ? dropFrame('local') : node;
    if (group && answered(run, at, length, from)) return NOWHERE;
    return bucket.take(floodCost(length)) || without.has('storm') ? FLOOD : dropFrame('storm');
  }

  function answered(run: Run, at: number, length: number, from: Port | undefined): boolean {
    const answer = mine && neighbourAnswer(run, at, at + length, mine, directory, isPresent);
    if (!answer) return false;
    if (!from) deliver(answer, undefined);
    else if (!from.send(answer)) drop('port-full');
    return true;
  }

  const isPresent: IsPresent = (place, protocol) => {
    const heard = sources.of(place.node)?.heard[protocol] ?? -Infinity;
    return clock.now() - heard <= PRESENT_MS && graphs.current.nextHop(place.node) !== undefined;
  };

  function dropFrame(reason: DropReason): number {
    drop(reason);
    return NOWHERE;
  }

  function fromPort(run: Run, headroom = 0, from?: Port): void {
    let start = 0;
    let at = 0;
    let to = NOWHERE;
    for (let end = nextFrame(run, 0); end !== 0; end = nextFrame(run, at)) {
      const next = target(run, at + LENGTH_BYTES, end - at - LENGTH_BYTES, from);
      if (next !== to) {
        leave(run, headroom, start, at, to, from);
        start = at;
        to = next;
      }
      at = end;
    }
    leave(run, headroom, start, at, to, from);
    if (at !== run.length) drop('malformed');
  }

  /** A sub-run with one destination leaves for it. */
  function leave(run: Run, headroom: number, start: number, end: number, to: number, from: Port | undefined): void {
    if (start === end || to === NOWHERE) return;
    if ((to === FLOOD || to === self) && ports.size > 1) deliver(run.subarray(start, end), from);
    if (to === FLOOD) leaveAsFlood(run, headroom, start, end);
    else if (to !== self) leaveForNode(run, headroom, start, end, to);
  }

  function leaveForNode(run: Run, headroom: number, start: number, end: number, to: number): void {
    const hop = graphs.current.nextHop(to);
    const wire = hop === undefined ? undefined : neighbours.wire(hop);
    if (!wire) return drop(hop === undefined ? 'unreachable' : 'no-wire');
    const max = Math.min(wire.maxBatch, graphs.current.limit(to), SCRATCH_BYTES) - HEADER_BYTES;
    for (let at = start; at < end;) {
      const cut = cutEnd(run, at, end, max);
      if (cut - at > max) drop('too-large');
      else if (!wire.send(batchOf(to, run, headroom, at, cut))) drop('wire-full');
      at = cut;
    }
  }

  function leaveAsFlood(run: Run, headroom: number, start: number, end: number): void {
    const children = graphs.current.children(self);
    if (children.length === 0) return;
    for (let at = start; at < end;) {
      const cut = cutEnd(run, at, end, EVERY_WIRE_BYTES);
      const batch = batchOf(FLOOD, run, headroom, at, cut);
      for (let i = 0; i < children.length; i++) sendBatch(children[i]!, batch);
      at = cut;
    }
  }

  /** One slice: the next header and these frames behind it. */
  function batchOf(destination: number, run: Run, headroom: number, start: number, end: number): Batch {
    head.type = FRAMES;
    head.ttl = Math.min(MAX_TTL, graphs.current.radius + TTL_SLACK);
    head.destination = destination;
    head.sequence = (head.sequence + 1) >>> 0;
    const length = HEADER_BYTES + end - start;
    let batch: Batch;
    if (headroom >= HEADER_BYTES) {
      // What lies before `start` is headroom, or frames that have left already.
      batch = new Uint8Array(run.buffer, run.byteOffset + start - HEADER_BYTES, length);
    } else {
      scratch ??= new Uint8Array(SCRATCH_BYTES);
      scratch.set(run.subarray(start, end), HEADER_BYTES);
      batch = scratch.subarray(0, length);
    }
    writeHeader(batch, head);
    return batch;
  }

  function sendBatch(to: number, batch: Batch): void {
    const wire = neighbours.wire(to);
    if (!wire) drop('no-wire');
    else if (batch.length > wire.maxBatch) drop('too-large');
    else if (!wire.send(batch)) drop('wire-full');
  }

  function fromWire(node: number, batch: Batch): void {
    const type = typeOf(batch);
    if (type === undefined) return drop('malformed');
    if (lanOf(batch) !== lan && !without.has('other-lan')) return drop('other-lan');
    if (!links.has(node)) return drop('not-neighbour');
    if (type === NOTE) return takeNote(node, batch);
    if (type !== FRAMES) return drop('malformed');
    const number = sourceOf(batch);
    const source = number === self ? undefined : sources.of(number);
    if (!source) return drop('bad-source');
    const destination = destinationOf(batch);
    if (destination === FLOOD) return passFlood(node, number, source, batch);
    if (destination !== self && graphs.current.nextHop(destination) === undefined) return drop('unreachable');
    const way = graphs.sentBy(node, number, destination) ?? (without.has('reverse-path') ? graphs.current : undefined);
    if (!way) return drop('reverse-path');
    const hop = destination === self ? self : graphs.onward(way, destination);
    if (hop === undefined || hop === node) return drop('unreachable');
    if (isRepeated(source, batch)) return drop('duplicate');
    if (hop === self) {
      if (admit(number, source, batch)) deliver(runOf(batch), undefined);
    } else {
      const ttl = ttlOf(batch);
      if (ttl <= 1) return drop('ttl');
      writeTtl(batch, ttl - 1);
      sendBatch(hop, batch);
    }
  }

  const isRepeated = (source: Source, batch: Batch): boolean =>
    !source.window.accept(lifeOf(batch), sequenceOf(batch)) && !without.has('duplicate');

  function passFlood(node: number, number: number, source: Source, batch: Batch): void {
    const old = graphs.floodedBy(node, number) ?? (without.has('reverse-path') ? NOBODY : undefined);
    if (!old) return drop('reverse-path');
    if (isRepeated(source, batch)) return drop('duplicate');
    if (!admit(number, source, batch)) return;
    passOn(node, number, old, batch);
    deliver(runOf(batch), undefined);
  }

  function passOn(node: number, source: number, old: readonly number[], batch: Batch): void {
    const children = graphs.current.children(source);
    if (old.length + children.length === 0) return;
    const ttl = ttlOf(batch);
    if (ttl <= 1) return drop('ttl');
    writeTtl(batch, ttl - 1);
    for (let i = 0; i < children.length; i++) if (children[i] !== node) sendBatch(children[i]!, batch);
    if (old === children) return;
    // It came by a graph that is going. Who waits for it by that one must not go without; who gets it twice can tell.
    for (const child of old) if (child !== node && !children.includes(child)) sendBatch(child, batch);
  }

  /**
   * QEMU ends the connection on a frame that is too long, and the peer that let these frames in may be hostile: nothing unchecked
   * may reach a port or, as a flood, more peers. One bad frame condemns its batch, because an honest peer sends none.
   */
  function admit(number: number, source: Source, batch: Batch): boolean {
    const place = directory.place(number);
    let flooded = 0;
    let spoke: Protocol | undefined;
    let at = HEADER_BYTES;
    for (let end = nextFrame(batch, at); end !== 0; end = nextFrame(batch, at)) {
      const start = at + LENGTH_BYTES;
      const fault = end - start > maxFrame ? 'too-large' : inspect(batch, start, end, place, directory);
      if (fault && !without.has(fault)) return refuse(fault);
      // Whatever the batch's header says: a frame that is not for our guest alone counts as flooded.
      if (!mine || macAt(batch, start) !== mine.mac) flooded += floodCost(end - start);
      spoke ??= place && speaksFrom(batch, start, end, place);
      at = end;
    }
    if (at !== batch.length || at === HEADER_BYTES) return refuse('malformed');
    if (flooded > 0 && !source.bucket.take(flooded) && !without.has('storm')) return refuse('storm');
    if (spoke) source.heard[spoke] = clock.now();
    return true;
  }

  function refuse(reason: DropReason): false {
    drop(reason);
    return false;
  }

  function deliver(run: Run, except: Port | undefined): void {
    for (const port of ports) if (port !== except && !port.send(run)) drop('port-full');
  }

  /** One hop, from a switch to its neighbour. What it says is for link state to judge. */
  function takeNote(node: number, batch: Batch): void {
    const ours = sourceOf(batch) === node && destinationOf(batch) === self && ttlOf(batch) === 1;
    if (!ours || batch.length > HEADER_BYTES + EVERY_WIRE_BYTES) return drop('malformed');
    onNote?.(node, batch.subarray(HEADER_BYTES));
  }

  return {
    setGraph({ epoch, edges, links: planned, directory: entries, server }) {
      head.epoch = epoch & 0xffff;
      graphs.set(edges);
      links = new Set(planned);
      neighbours.prune(links);
      // Links change with each note and addresses with the plan alone; of 200 nodes they cost more than all the rest.
      if (entries === addresses.entries && server === addresses.server) return;
      addresses = { entries, server };
      directory.assign(entries, server);
      mine = directory.place(self);
      learner.sync(mine, directory);
      sources.assign(entries.map(({ node }) => node));
    },
    attachPort(port) {
      ports.add(port);
      return () => void ports.delete(port);
    },
    fromPort,
    attachWire: (node, wire) => neighbours.attach(node, wire),
    fromWire,
    sendNote(node, payload) {
      const wire = links.has(node) ? neighbours.wire(node) : undefined;
      if (!wire || payload.length > EVERY_WIRE_BYTES) return false;
      return wire.send(encodeBatch({ ...head, type: NOTE, ttl: 1, destination: node }, payload));
    },
    learned: () => learner.macs(mine, directory),
    setLearned(node, macs) {
      if (node !== self) directory.setLearned(node, macs);
      learner.sync(mine, directory);
    },
    stats: () => ({ neighbours: neighbours.stats(), dropped: { ...counts } }),
  };
}

const randomBelow = (limit: number): number => Math.floor(Math.random() * limit);
