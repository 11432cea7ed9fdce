/**
 * Which links live and what they cost, the same on every node: the control plane of a LAN. Pure: no sockets, time by a clock.
 *
 * Each node writes a note of its links, signs it and hands it to its neighbours; they pass it on to theirs, once. A note counts when
 * it is newer than what is known, its origin is in the plan, and the signature holds. When a link comes up, and whenever a
 * neighbour's summary shows another state than ours, digests find out who lacks what: no loss of a message is for ever.
 *
 * Tell first, then use: a change is sent to the neighbours before it is used here. What we send by a new graph then meets, at each
 * hop, a node that knows that graph too, because notes and frames share the wire and its order. Only a loss of our own link is used
 * at once: what would have gone there is lost anyway.
 */
import type { Clock } from '../base/clock.ts';
import type { MacNumber } from './directory.ts';
import { createLinkDatabase, type Link } from './link-database.ts';
import { createNeighbourBudgets } from './link-budget.ts';
import {
  bodyOf,
  decodeMessage,
  decodeNote,
  encodeDigest,
  encodeNoteBody,
  encodeNotes,
  encodeSummary,
  MAX_MACS,
  MAX_NEIGHBOURS,
  originOf,
  sequenceOf,
  SIGNATURE_BYTES,
  signatureOf,
  type Digest,
} from './note.ts';
import type { Edge, LiveEdge } from './topology.ts';

export interface LinkState extends Disposable {
  /** The links there may be. Nodes without one are forgotten. */
  setPlan(edges: readonly Edge[]): void;
  /** Our link with this node is up, at this cost and size, or down. Of costs tell only what is worth it (cost.ts). */
  setLink(node: number, link: Link | undefined): void;
  /** What is behind our own port. */
  setGuest(guest: { readonly present: boolean; readonly macs: readonly MacNumber[] }): void;
  /** A message of a neighbour. Any bytes are fine. */
  receive(from: number, payload: Uint8Array): void;
  readonly edges: readonly LiveEdge[];
  /** Addresses that a node has learned behind its port; empty for nodes that we know nothing of. */
  macs(node: number): readonly MacNumber[];
}

export interface LinkStateOptions {
  readonly self: number;
  /** Names job and LAN: what is signed here is good nowhere else. */
  readonly context: string;
  readonly clock: Clock;
  readonly random: () => number;
  /** Ed25519 of this device, 64 bytes. */
  sign(bytes: Uint8Array): Uint8Array;
  verify(node: number, bytes: Uint8Array, signature: Uint8Array): boolean;
  /** False: not sent. It will be made good. */
  send(node: number, payload: Uint8Array): boolean;
  onChange(edges: readonly LiveEdge[]): void;
}

/** Several links come up together when a node joins: one note for all of them. Losses are told at once. */
const UP_DELAY_MS = 20;

/** Own notes: a flapping link costs everybody a note a second and not more. The last state always gets out. */
const TELL_BURST = 3;
const TELL_EVERY_MS = 1000;

/** Notes that come this close together are passed on, and used, together. The first goes at once. */
const GATHER_MS = 5;

/** As in OSPF (RFC 2328, LSRefreshTime 30 min, MaxAge 1 h), but for laptops. */
const REFRESH_MS = 300_000;
const MAX_AGE_MS = 900_000;

/**
 * A summary is 25 bytes with its batch header: 3 B/s on each link and direction, 40 on a stanza wire in its envelope. Of 200 nodes,
 * refreshed notes add at most 100 B/s: below the 500 B/s that an idle link may use.
 */
const SUMMARY_MS = 10_000;

/** After a message that a neighbour's wire refused, and wherever we know that we lack something. */
const RETRY_MS = 1000;

/** Restarted nodes begin anywhere: two lives whose notes have the same number would look the same. Far from the end of u32. */
const FIRST_SEQUENCES = 2 ** 20;

const DOMAIN = 'kith-note-1';

export function createLinkState(options: LinkStateOptions): LinkState {
  const { self, clock, random } = options;
  const links = new Map<number, Link>();
  const database = createLinkDatabase(self, links);
  const budgets = createNeighbourBudgets(clock, () => database.nodes.size);
  const prefix = new TextEncoder().encode(`${DOMAIN}\0${options.context}\0`);
  let guest = { present: false, macs: [] as readonly MacNumber[] };
  let sequence = Math.floor(random() * FIRST_SEQUENCES);

  let disposed = false;
  const timers = new Map<string, () => void>();
  /** One timer of each name; an earlier one stays. */
  const later = (name: string, ms: number, task: () => void) => {
    if (disposed || timers.has(name)) return;
    const cancel = clock.after(ms, () => {
      timers.delete(name);
      task();
    });
    timers.set(name, cancel);
  };
  const cancel = (name: string) => {
    timers.get(name)?.();
    timers.delete(name);
  };

  // ---- what we use

  let used: readonly LiveEdge[] = database.edges;
  function use(): void {
    const { edges } = database;
    if (edges === used) return;
    used = edges;
    options.onChange(edges);
  }

  // ---- what we tell

  let tokens = TELL_BURST;
  let filledAt = clock.now();
  let told: Uint8Array | undefined;
  let toldAt = 0;

  function tellSoon(ms: number): void {
    if (ms === 0) cancel('tell');
    if (ms === 0 && tokensNow() >= 1) tell();
    else later('tell', Math.max(ms, Math.ceil((1 - tokensNow()) * TELL_EVERY_MS)), () => tellSoon(0));
  }

  function tokensNow(): number {
    tokens = Math.min(TELL_BURST, tokens + (clock.now() - filledAt) / TELL_EVERY_MS);
    filledAt = clock.now();
    return tokens;
  }

  function tell(again = false): void {
    const neighbours = [...links]
      .filter(([node]) => database.has(self, node))
      .slice(0, MAX_NEIGHBOURS)
      .map(([node, { cost, maxBatch }]) => ({ node, cost, maxBatch }));
    const body = { origin: self, sequence, guest: guest.present, neighbours, macs: guest.macs.slice(0, MAX_MACS) };
    if (!again && told && same(encodeNoteBody(body), told)) return;
    tokens--;
    sequence++;
    told = encodeNoteBody({ ...body, sequence });
    toldAt = clock.now();
    const note = new Uint8Array(told.length + SIGNATURE_BYTES);
    note.set(told);
    note.set(options.sign(toSign(told)), told.length);
    database.put(decodeNote(note)!, note, toldAt);
    passing.push({ note, from: self });
    flush();
  }

  function toSign(body: Uint8Array): Uint8Array {
    const bytes = new Uint8Array(prefix.length + body.length);
    bytes.set(prefix);
    bytes.set(body, prefix.length);
    return bytes;
  }

  // ---- what we pass on

  let passing: { readonly note: Uint8Array; readonly from: number }[] = [];

  function flush(): void {
    const notes = passing;
    passing = [];
    if (notes.length > 0) {
      const senders = new Set(notes.map(({ from }) => from));
      let toAll: Uint8Array[] | undefined;
      for (const node of links.keys()) {
        const messages = senders.has(node)
          ? encodeNotes(notes.filter(({ from }) => from !== node).map(({ note }) => note))
          : (toAll ??= encodeNotes(notes.map(({ note }) => note)));
        for (const message of messages) deliver(node, message);
      }
    }
    use();
  }

  function deliver(node: number, message: Uint8Array): void {
    if (!database.has(self, node) || options.send(node, message) || !links.has(node)) return;
    later(`retry ${node}`, RETRY_MS, () => {
      if (links.has(node)) deliver(node, encodeDigest(digest(), true));
    });
  }

  // ---- what we hear

  function take(from: number, note: Uint8Array): void {
    const [origin, number] = [originOf(note), sequenceOf(note)];
    if (!database.nodes.has(origin)) return;
    const known = origin === self ? sequence : (database.get(origin)?.sequence ?? -1);
    if (number === known) return;
    if (number < known) {
      // Its sender has slept, or started again: it learns the last number from its own old note.
      const newer = database.get(origin)?.note;
      if (newer && budgets.answer(from)) for (const message of encodeNotes([newer])) deliver(from, message);
      return;
    }
    if (!budgets.verify(from)) return compareLater(from);
    const body = decodeNote(note);
    if (!body || !options.verify(origin, toSign(bodyOf(note)), signatureOf(note))) return budgets.refused(from);
    if (origin === self) {
      // Of a life before this one: whoever has it takes ours only with a higher number.
      sequence = number;
      told = undefined;
      return tellSoon(0);
    }
    if (!budgets.news(origin)) return compareLater(from);
    const copy = note.slice();
    database.put(body, copy, clock.now());
    passing.push({ note: copy, from });
  }

  function takeAll(from: number, notes: readonly Uint8Array[]): void {
    for (const note of notes) take(from, note);
    if (passing.length === 0 || timers.has('gather')) return;
    flush();
    later('gather', GATHER_MS, flush);
  }

  const digest = (): Digest => Array.from(database.entries(), ([origin, entry]) => [origin, entry.sequence] as const);

  /** Neighbours whose end of the link was up before ours: what they asked could not be answered. */
  const early = new Set<number>();

  function takeDigest(from: number, answer: boolean, theirs: Digest): void {
    if (!links.has(from)) {
      early.add(from);
      return;
    }
    if (!budgets.answer(from)) return;
    const known = new Map(theirs);
    const newer: Uint8Array[] = [];
    for (const [origin, { sequence, note }] of database.entries()) {
      if (note && (known.get(origin) ?? -1) < sequence) newer.push(note);
    }
    for (const message of encodeNotes(newer)) deliver(from, message);
    const lacking = theirs.some(
      ([origin, number]) => database.nodes.has(origin) && (database.get(origin)?.sequence ?? -1) < number,
    );
    if (!lacking) return;
    if (answer) deliver(from, encodeDigest(digest(), false));
    // It comes by itself when both ends saw the link come up; not when only the other one had lost it.
    else compareLater(from);
  }

  function compareLater(node: number): void {
    later(`compare ${node}`, RETRY_MS, () => {
      if (links.has(node)) deliver(node, encodeSummary(...database.hash));
    });
  }

  // ---- now and then

  const summarize = () => {
    const summary = encodeSummary(...database.hash);
    for (const node of links.keys()) deliver(node, summary);
  };

  function everySummary(): void {
    later('summary', SUMMARY_MS, everySummary);
    const now = clock.now();
    database.expire(now - MAX_AGE_MS);
    if (told && now - toldAt >= REFRESH_MS) tell(true);
    summarize();
    flush();
  }
  // Nodes that start together must not all speak at the same moment.
  later('summary', SUMMARY_MS * random(), everySummary);

  return {
    setPlan(edges) {
      const grown = database.setPlan(edges);
      budgets.keep((node) => database.has(self, node));
      if (!database.get(self)) told = undefined;
      if (links.size > 0) tellSoon(UP_DELAY_MS);
      flush();
      // Their notes may have come before the plan that names them.
      if (grown) summarize();
    },
    setLink(node, link) {
      const before = links.get(node);
      if (link) links.set(node, link);
      else if (!links.delete(node)) return;
      database.judgeOwn();
      if (link && !before) {
        deliver(node, encodeDigest(digest(), early.delete(node)));
        tellSoon(UP_DELAY_MS);
      } else {
        tellSoon(0);
      }
      flush();
    },
    setGuest(next) {
      guest = next;
      if (links.size > 0) tellSoon(UP_DELAY_MS);
    },
    receive(from, payload) {
      if (!database.has(self, from)) return;
      const message = decodeMessage(payload);
      if (message?.kind === 'notes') takeAll(from, message.notes);
      else if (message?.kind === 'digest') takeDigest(from, message.answer, message.digest);
      else if (message?.kind === 'summary') {
        const [high, low] = database.hash;
        if (message.high === high && message.low === low) return;
        if (budgets.answer(from)) deliver(from, encodeDigest(digest(), true));
      } else budgets.refused(from);
    },
    get edges() {
      return used;
    },
    macs: (node) => database.get(node)?.macs ?? [],
    [Symbol.dispose]() {
      disposed = true;
      for (const cancel of timers.values()) cancel();
      timers.clear();
    },
  };
}

const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);
