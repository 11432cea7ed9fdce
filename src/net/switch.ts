/**
 * One peer's switch on one LAN: between the guest's port and the wires to other peers. Pure: no sockets, no timers.
 *
 * The way of a frame:
 *   1. The guest sends; its port hands us a run, whatever one read from QEMU brought (fromPort).
 *   2. Each frame passes the guards (guard.ts): nobody else's addresses, no rogue servers, no storms.
 *   3. Neighbouring frames for the same node stay together: one sub-run, one batch. Broadcast, multicast and addresses that
 *      nobody has are for all nodes: a flood.
 *   4. The batch (16 bytes of header, then the sub-run untouched) goes to the next hop of a shortest path, a flood to each of
 *      our children in the tree whose root we are.
 *   5. The next peer (fromWire) refuses what is not for this LAN, has used up its hops, or comes from a neighbour that is not on
 *      the way from its source: that neighbour could pose as anybody. A batch for somebody else goes on with one hop less,
 *      nothing else read or changed.
 *   6. A flood must come from our parent in the tree of its source, and only once: the window of that source knows. It passes
 *      the guards before it goes to our children in that tree, so that a storm ends at the first honest peer.
 *   7. At the last hop we check that the run is whole frames and put each through the same guards, now for the batch's source:
 *      its peer may be hostile. Then the slice is written to the port.
 * Whatever is dropped on the way is counted by its reason. Nothing a guest or a peer sends makes us throw, wait or grow.
 */
import type { Clock } from '../base/clock.ts';
import {
  decodeHeader,
  FLOOD,
  FRAMES,
  HEADER_BYTES,
  LENGTH_BYTES,
  MAX_FRAME_BYTES,
  MIN_FRAME_BYTES,
  nextFrame,
  PROBE,
  PROBE_REPLY,
  runOf,
  writeHeader,
  writeTtl,
  type BatchHeader,
} from './batch.ts';
import { createBucket, floodCost, FROM_WIRE_FACTOR, type Bucket } from './bucket.ts';
import { createCounters, type DropCounters, type DropReason } from './counters.ts';
import { createDirectory, isGroup, macAt, type DirectoryEntry } from './directory.ts';
import { inspect } from './guard.ts';
import { createNeighbours, type NeighbourStats } from './neighbours.ts';
import type { Port, Run } from './port.ts';
import { createRoutes, type Routes } from './routes.ts';
import type { Edge } from './topology.ts';
import { DuplicateWindow } from './window.ts';
import type { Batch, Wire } from './wire.ts';

export interface Graph {
  /** Revision of the plan. */
  readonly epoch: number;
  readonly edges: readonly Edge[];
  /** Which addresses live at which node, also of places that are still free: a guest may be heard before we know its peer. */
  readonly directory: readonly DirectoryEntry[];
  /** The master guest's node. It alone may serve DHCP; without one nobody may. */
  readonly server: number | undefined;
}

export interface SwitchStats {
  readonly neighbours: readonly NeighbourStats[];
  readonly dropped: DropCounters;
}

export interface Switch {
  /** A new revision of the plan: links and addresses. Batches that still travel by the last one stay welcome. */
  setGraph(graph: Graph): void;
  /** Plugs a guest in; the returned function unplugs it. */
  attachPort(port: Port): () => void;
  /** Hot path, guest to LAN. `from` matters only when several ports are attached: it gets nothing of its own back. */
  fromPort(run: Run, from?: Port): void;
  /** The wire to a neighbour. A later one replaces it; the returned function detaches it if it is still there. */
  attachWire(node: number, wire: Wire): () => void;
  /** Hot path, LAN to guest or onwards. The batch's ttl byte may be changed. */
  fromWire(node: number, batch: Batch): void;
  /** Asks a neighbour for a sign of life; its round trip appears in the statistics. False: no wire, or it refused. */
  probe(node: number): boolean;
  stats(): SwitchStats;
}

/**
 * A flood has one sequence number and must pass every wire of its tree in one piece, so it stays below the smallest batch of any
 * wire (stanza: 12,000 bytes). Only a single larger frame makes a larger flood.
 */
const FLOOD_BYTES = 8192;

/** Four bytes of VLAN tag may come on top of the MTU and the Ethernet header (IEEE 802.1Q). */
const MTU_OVERHEAD = MIN_FRAME_BYTES + 4;

/** Room for the largest frame in one batch (69,652 bytes) and some more; a wire that could take larger batches does not get them. */
const SCRATCH_BYTES = 131_072;

/** Slack in hops for paths that are longer while a new revision of the plan spreads. */
const TTL_SLACK = 2;
const MAX_TTL = 255;

const NOWHERE = -1;

export function createSwitch(options: {
  readonly node: number;
  readonly lan: number;
  readonly clock: Clock;
  /** Payload bytes per frame; without it only QEMU's own limit holds. */
  readonly mtu?: number;
  /** Where our sequence numbers begin; random unless a test says otherwise (window.ts tells why). */
  readonly firstSequence?: number;
  /** Only for tests, which show that an attack works as soon as its guard is away. */
  readonly without?: ReadonlySet<DropReason>;
}): Switch {
  const { node: self, lan, clock, mtu } = options;
  const maxFrame = mtu === undefined ? MAX_FRAME_BYTES : Math.min(mtu + MTU_OVERHEAD, MAX_FRAME_BYTES);
  const { counts, drop } = createCounters();
  const directory = createDirectory();
  const neighbours = createNeighbours(clock);
  const without = options.without ?? new Set<DropReason>();
  const sources = new Map<number, { readonly window: DuplicateWindow; readonly bucket: Bucket }>();
  const bucket = createBucket(clock);
  const ports = new Set<Port>();
  // One buffer for all batches that begin here: a wire copies what it keeps, and none calls back from within send().
  const scratch = new Uint8Array(SCRATCH_BYTES);
  let sequence = (options.firstSequence ?? Math.floor(Math.random() * 2 ** 32)) >>> 0;
  let current: { readonly epoch: number; readonly routes: Routes } = { epoch: 0, routes: createRoutes([], self) };
  let previous = current;
  let mine = directory.place(self);

  const header = (destination: number, type: BatchHeader['type'] = FRAMES): BatchHeader => {
    sequence = (sequence + 1) >>> 0;
    const ttl = Math.min(MAX_TTL, current.routes.radius + TTL_SLACK);
    return { type, ttl, source: self, destination, lan, epoch: current.epoch, flags: 0, sequence };
  };

  /** The node that the frame at `at` is for, FLOOD, or NOWHERE when it was dropped. */
  function target(run: Run, at: number, length: number): number {
    if (length > maxFrame) return dropFrame('too-large');
    const fault = inspect(run, at, at + length, mine, directory);
    if (fault && !without.has(fault)) return dropFrame(fault);
    const node = isGroup(run, at) ? undefined : directory.nodeOf(macAt(run, at));
    if (node === undefined) return bucket.take(floodCost(length)) || without.has('storm') ? FLOOD : dropFrame('storm');
    return node === self && ports.size < 2 ? dropFrame('local') : node;
  }

  function dropFrame(reason: DropReason): number {
    drop(reason);
    return NOWHERE;
  }

  function fromPort(run: Run, from?: Port): void {
    let start = 0;
    let at = 0;
    let to = NOWHERE;
    for (let end = nextFrame(run, 0); end !== 0; end = nextFrame(run, at)) {
      const next = target(run, at + LENGTH_BYTES, end - at - LENGTH_BYTES);
      if (next !== to) {
        leave(run, start, at, to, from);
        start = at;
        to = next;
      }
      at = end;
    }
    leave(run, start, at, to, from);
    if (at !== run.length) drop('malformed');
  }

  /** A sub-run with one destination leaves for it. */
  function leave(run: Run, start: number, end: number, to: number, from: Port | undefined): void {
    if (start === end || to === NOWHERE) return;
    if ((to === FLOOD || to === self) && ports.size > 1) deliver(run.subarray(start, end), from);
    if (to === FLOOD) leaveAsFlood(run, start, end);
    else if (to !== self) sendUnicast(to, undefined, run, start, end);
  }

  function leaveAsFlood(run: Run, start: number, end: number): void {
    const children = current.routes.children(self);
    if (children.length === 0) return;
    pieces(run, start, end, FLOOD_BYTES, true, (piece) => {
      const length = fill(header(FLOOD), piece);
      for (const child of children) sendBatch(child, scratch.subarray(0, length));
    });
  }

  /** In as many batches as the next wire needs. `passing`: the header of somebody else's batch that is too large for it. */
  function sendUnicast(to: number, passing: BatchHeader | undefined, run: Run, start: number, end: number): void {
    const hop = current.routes.nextHop(to);
    const wire = hop === undefined ? undefined : neighbours.wire(hop);
    if (!wire) return drop(hop === undefined ? 'unreachable' : 'no-wire');
    pieces(run, start, end, Math.min(wire.maxBatch, SCRATCH_BYTES) - HEADER_BYTES, false, (piece) => {
      const length = fill(passing ?? header(to), piece);
      if (!wire.send(scratch.subarray(0, length))) drop('wire-full');
    });
  }

  function fill(head: BatchHeader, run: Run): number {
    writeHeader(scratch, head);
    scratch.set(run, HEADER_BYTES);
    return HEADER_BYTES + run.length;
  }

  function sendBatch(to: number, batch: Batch): void {
    const wire = neighbours.wire(to);
    if (!wire) drop('no-wire');
    else if (batch.length > wire.maxBatch) drop('too-large');
    else if (!wire.send(batch)) drop('wire-full');
  }

  /** Cuts whole frames off until the rest fits. A frame that alone is too large is dropped, unless `lone` lets it pass alone. */
  function pieces(run: Run, start: number, end: number, max: number, lone: boolean, use: (piece: Run) => void): void {
    let from = start;
    while (end - from > max) {
      let to = from;
      for (let next = nextFrame(run, to); next !== 0 && next - from <= max; next = nextFrame(run, to)) to = next;
      if (to === from) {
        to = nextFrame(run, from);
        if (to === 0) return drop('malformed');
        if (lone) use(run.subarray(from, to));
        else drop('too-large');
      } else {
        use(run.subarray(from, to));
      }
      from = to;
    }
    if (from < end) use(run.subarray(from, end));
  }

  function fromWire(node: number, batch: Batch): void {
    const head = decodeHeader(batch);
    if (!head) return drop('malformed');
    if (head.lan !== lan && !without.has('other-lan')) return drop('other-lan');
    if (!current.routes.neighbours.includes(node)) return drop('not-neighbour');
    if (head.source === self || !current.routes.nodes.has(head.source)) return drop('bad-source');
    if (head.type !== FRAMES) return fromProbe(node, head);
    if (head.destination === FLOOD) return passFlood(node, head, batch);
    if (head.destination !== self) return passUnicast(node, head, batch);
    if (!isOnTheWay(node, head)) return drop('reverse-path');
    if (admit(head.source, batch)) deliver(runOf(batch), undefined);
  }

  /** By the current graph or by the last one: while a new one spreads, both are on the way. */
  function isOnTheWay(node: number, { source, destination }: BatchHeader): boolean {
    if (current.routes.previousHop(source, destination) === node) return true;
    return previous.routes.previousHop(source, destination) === node || without.has('reverse-path');
  }

  function passFlood(node: number, head: BatchHeader, batch: Batch): void {
    // A source that is ahead of us routes by a graph that we do not know yet. Its floods must come by the tree that we know, or
    // else any neighbour could pose as any source by naming an epoch that nobody has; where the trees differ some are lost.
    const { routes } = head.epoch !== current.epoch && head.epoch === previous.epoch ? previous : current;
    if (routes.parent(head.source) !== node && !without.has('reverse-path')) return drop('reverse-path');
    if (!sourceOf(head.source).window.accept(head.sequence)) return drop('duplicate');
    if (!admit(head.source, batch)) return;
    const children = routes.children(head.source);
    if (children.length > 0) {
      if (head.ttl <= 1) drop('ttl');
      else {
        writeTtl(batch, head.ttl - 1);
        for (const child of children) if (child !== node) sendBatch(child, batch);
      }
    }
    deliver(runOf(batch), undefined);
  }

  function sourceOf(node: number) {
    let source = sources.get(node);
    if (!source) {
      source = { window: new DuplicateWindow(), bucket: createBucket(clock, FROM_WIRE_FACTOR) };
      sources.set(node, source);
    }
    return source;
  }

  function passUnicast(node: number, head: BatchHeader, batch: Batch): void {
    const hop = current.routes.nextHop(head.destination);
    if (hop === undefined || hop === node) return drop('unreachable');
    if (!isOnTheWay(node, head)) return drop('reverse-path');
    if (head.ttl <= 1) return drop('ttl');
    const wire = neighbours.wire(hop);
    if (wire && batch.length > wire.maxBatch) {
      return sendUnicast(
        head.destination,
        { ...head, ttl: head.ttl - 1 },
        runOf(batch),
        0,
        batch.length - HEADER_BYTES,
      );
    }
    writeTtl(batch, head.ttl - 1);
    sendBatch(hop, batch);
  }

  /**
   * QEMU ends the connection on a frame that is too long, and the peer that let these frames in may be hostile: nothing unchecked
   * may reach a port or, as a flood, more peers. One bad frame condemns its batch, because an honest peer sends none.
   */
  function admit(source: number, batch: Batch): boolean {
    const run = runOf(batch);
    const place = directory.place(source);
    let flooded = 0;
    let at = 0;
    for (let end = nextFrame(run, 0); end !== 0; end = nextFrame(run, at)) {
      const start = at + LENGTH_BYTES;
      const fault = inspect(run, start, end, place, directory);
      if (fault && !without.has(fault)) return refuse(fault);
      // Whatever the batch's header says: a frame that is not for our guest alone counts as flooded.
      if (!mine || macAt(run, start) !== mine.mac) flooded += floodCost(end - start);
      at = end;
    }
    if (at !== run.length || at === 0) return refuse('malformed');
    if (flooded === 0 || without.has('storm') || sourceOf(source).bucket.take(flooded)) return true;
    return refuse('storm');
  }

  function refuse(reason: DropReason): false {
    drop(reason);
    return false;
  }

  function deliver(run: Run, except: Port | undefined): void {
    for (const port of ports) if (port !== except && !port.send(run)) drop('port-full');
  }

  function fromProbe(node: number, head: BatchHeader): void {
    if (head.source !== node || head.destination !== self) return drop('malformed');
    if (head.type === PROBE_REPLY) return neighbours.answered(node, head.sequence);
    writeHeader(scratch, { ...head, type: PROBE_REPLY, ttl: 1, source: self, destination: node });
    sendBatch(node, scratch.subarray(0, HEADER_BYTES));
  }

  return {
    setGraph({ epoch, edges, directory: entries, server }) {
      previous = current;
      current = { epoch: epoch & 0xffff, routes: createRoutes(edges, self) };
      directory.assign(entries, server);
      mine = directory.place(self);
      for (const source of sources.keys()) if (!current.routes.nodes.has(source)) sources.delete(source);
      neighbours.prune(current.routes.neighbours);
    },
    attachPort(port) {
      ports.add(port);
      return () => void ports.delete(port);
    },
    fromPort,
    attachWire: (node, wire) => neighbours.attach(node, wire),
    fromWire,
    probe(node) {
      const wire = neighbours.wire(node);
      if (!wire) return false;
      const head = { ...header(node, PROBE), ttl: 1 };
      // The answer may take longer than the caller's interval (a stanza wire has seconds): one probe at a time.
      if (!neighbours.probed(node, head.sequence)) return true;
      writeHeader(scratch, head);
      return wire.send(scratch.subarray(0, HEADER_BYTES));
    },
    stats: () => ({ neighbours: neighbours.stats(), dropped: { ...counts } }),
  };
}
