/** Several connections to one peer as one wire: more are opened while what there is stays full and the machine is not, and each flow keeps to one. */
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { FRAMES, HEADER_BYTES, typeOf } from '../net/batch.ts';
import type { Batch, BatchHandler, Wire } from '../net/wire.ts';
import { flowOf } from './flow.ts';

/*
 * One association has one congestion window: at 20 ms and 0.1 % loss that is 17-26 Mbit/s, four have 72-75, eight 88-138 (measured).
 * Both ends open the connection of the same number when one of them says so. It says it in a batch that is shorter than a header and so can be
 * nothing else: [GROW][number].
 */
const GROW = 0x47;
const GROW_BYTES = 2;

const MAX_MEMBERS = 8;
/** Odd ones of one end, even ones of the other: either alone may grow to the full number. */
const MAX_NUMBER = 2 * MAX_MEMBERS - 2;
const NEAR_MEMBERS = 4;
/** From here on one window is small for what the path may hold. */
const FAR_MS = 30;
const FAR_LOSS = 0.0005;

const LOOK_MS = 500;
/** Full at this many looks in a row: two seconds. A burst is no reason. */
const FULL_LOOKS = 4;
/** Queued by a member that cannot keep up. */
const FULL_BYTES = 65_536;
/** What one more connection has to bring, else the path itself is full and more of them are only unfair to others. */
const GAIN = 1.15;
/** A measurement that is older says nothing about the path of now. */
const TRIAL_MS = 60_000;
/** After one that was no gain, or could not be opened; each time longer, up to an hour. */
const HOLD_MS = 60_000;
const MAX_HOLD_MS = 3_600_000;
/** A member without a frame for this long goes. */
const IDLE_MS = 60_000;
/** A flow that pauses so long, and has nothing queued, may take another connection: nothing of it can be overtaken. */
const PAUSE_MS = 500;
/** A flow that was seen so lately is worth moving to a connection that has room. */
const BUSY_MS = 1000;
/** What is kept of a flow that moves, until the old connection has carried the rest; above that it stays where it was. */
const HELD_BYTES = 262_144;
const DRAINED_LOOK_MS = 10;
/** Flows that are remembered. */
const MAX_FLOWS = 4096;

export interface BundleOptions {
  /** True at exactly one of both ends. It grows by odd numbers, the other one by even ones, so that they never mean the same. */
  readonly offer: boolean;
  /** Opens connection 0, 1, … of the same link; both ends call it for the same number at about the same time. */
  readonly open: (number: number, signal: AbortSignal, onBatch: BatchHandler) => Promise<Wire>;
  readonly onBatch: BatchHandler;
  readonly clock: Clock;
  readonly log: Log;
  /** Ends the attempt to open the first one, and later everything. */
  readonly signal: AbortSignal;
  /** The processor had time for more since the last question, which is asked twice a second while everything is full. */
  readonly hasSpareCpu: () => boolean;
  /** What is known of the path; without it, it is near and loses nothing. */
  readonly path?: () => { readonly roundTripMs: number | undefined; readonly loss: number };
}

interface Member {
  readonly number: number;
  readonly wire: Wire;
  usedAt: number;
}

const isOdd = (number: number) => number % 2 === 1;

interface Flow {
  member: Member;
  at: number;
  /** What its connection had taken in all after the last batch of this flow. */
  position: number;
}

/** A flow on its way to another connection: what comes meanwhile waits, so that nothing is overtaken. */
interface Move {
  readonly flow: Flow;
  readonly to: Member;
  readonly held: Batch[];
  bytes: number;
}

export async function openBundle(options: BundleOptions): Promise<Wire> {
  const { offer, open, clock, log, hasSpareCpu } = options;
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const members: Member[] = [];
  const opening = new Map<number, Promise<void>>();
  const flows = new Map<number, Flow>();
  const past = { sentBytes: 0, receivedBytes: 0, drops: 0 };
  let fullLooks = 0;
  let holdUntil = 0;
  let rate = { bytes: 0, at: clock.now() };
  /** The last growth: is it worth it? */
  let trial: { readonly bytesPerMs: number; readonly at: number } | undefined;
  let hold = HOLD_MS;
  let move: Move | undefined;
  /** What the first one had taken while it was alone: flows were not told apart then, so until that has left they stay. */
  let untracked = 0;

  const onBatch = (number: number): BatchHandler => {
    let member: Member | undefined;
    return (batch) => {
      if (batch.length < HEADER_BYTES) return told(batch);
      member ??= members.find((each) => each.number === number);
      if (member) member.usedAt = clock.now();
      options.onBatch(batch);
    };
  };

  function told(batch: Batch): void {
    const number = batch[1];
    if (batch.length !== GROW_BYTES || batch[0] !== GROW || !number || number > MAX_NUMBER) return;
    // Before there is a first one nothing can be full, and nobody would close what is opened now.
    if (isOdd(number) === offer || members.length === 0) return;
    // Ours of this number, if there is one, is dead at the other end.
    const old = members.find((each) => each.number === number);
    if (old) remove(old);
    join(number);
  }

  function join(number: number): void {
    if (opening.has(number) || signal.aborted) return;
    const task = (async () => {
      try {
        const wire = await open(number, signal, onBatch(number));
        if (signal.aborted || wire.maxBatch < first.maxBatch) return await wire[Symbol.asyncDispose]();
        const member = { number, wire, usedAt: clock.now() };
        if (members.length === 1) {
          flows.clear();
          untracked = first.stats().sentBytes;
        }
        members.push(member);
        void wire.closed.then(() => remove(member));
        log.debug('connection added', { number, connections: members.length });
      } catch (error) {
        noMore();
        log.debug('connection not added', { number, reason: describeError(error) });
      }
    })().finally(() => opening.delete(number));
    opening.set(number, task);
  }

  function remove(member: Member): void {
    const at = members.indexOf(member);
    if (at <= 0) return; // the first one is the bundle's life, and its end the end of all
    members.splice(at, 1);
    const { sentBytes, receivedBytes, drops } = member.wire.stats();
    past.sentBytes += sentBytes;
    past.receivedBytes += receivedBytes;
    past.drops += drops;
    for (const [key, flow] of flows) if (flow.member === member && flow !== move?.flow) flows.delete(key);
    void dispose(member.wire);
  }

  async function dispose(wire: Wire): Promise<void> {
    try {
      await wire[Symbol.asyncDispose]();
    } catch (error) {
      log.debug('connection not closed cleanly', { reason: describeError(error) });
    }
  }

  const totals = () => {
    const all = { ...past, queuedBytes: move?.bytes ?? 0 };
    for (const { wire } of members) {
      const stats = wire.stats();
      all.sentBytes += stats.sentBytes;
      all.receivedBytes += stats.receivedBytes;
      all.drops += stats.drops;
      all.queuedBytes += stats.queuedBytes;
    }
    return all;
  };

  function look(): void {
    const now = clock.now();
    for (const member of members.slice(1)) if (now - member.usedAt >= IDLE_MS) remove(member);
    const isFull = members.every(({ wire }) => wire.stats().queuedBytes >= FULL_BYTES);
    fullLooks = isFull ? fullLooks + 1 : 0;
    if (fullLooks === 1) rate = { bytes: carried(), at: now };
    const isSpare = isFull && hasSpareCpu();
    if (!isFull) balance(now);
    if (opening.size > 0 || fullLooks < FULL_LOOKS) return;
    const bytesPerMs = (carried() - rate.bytes) / (now - rate.at);
    if (trial && now - trial.at < TRIAL_MS) {
      if (bytesPerMs < trial.bytesPerMs * GAIN) return noMore();
      hold = HOLD_MS;
    }
    if (now < holdUntil || members.length >= most() || !isSpare) return;
    trial = { bytesPerMs, at: now };
    fullLooks = 0;
    grow();
  }

  function noMore(): void {
    holdUntil = clock.now() + hold;
    hold = Math.min(4 * hold, MAX_HOLD_MS);
    trial = undefined;
  }

  /** Not all of what it had taken up to there has gone out. */
  function isBehind({ wire }: Member, position: number): boolean {
    const { sentBytes, queuedBytes } = wire.stats();
    return sentBytes - queuedBytes < position;
  }

  /** A busy flow leaves a connection that is full for one that has room. */
  function balance(now: number): void {
    const to = emptiest();
    if (move || members.length === 1 || to.wire.stats().queuedBytes >= FULL_BYTES / 2) return;
    for (const member of members) {
      if (member.wire.stats().queuedBytes < FULL_BYTES) continue;
      const busy = [...flows.values()].filter((flow) => flow.member === member && now - flow.at < BUSY_MS);
      if (busy.length < 2) continue;
      move = { flow: busy[0]!, to, held: [], bytes: 0 };
      return tryMove();
    }
  }

  function tryMove(): void {
    if (!move || signal.aborted) return;
    const { flow, to, held } = move;
    const isThere = members.includes(flow.member);
    if (isThere && isBehind(flow.member, flow.position)) return void clock.after(DRAINED_LOOK_MS, tryMove);
    move = undefined;
    if (members.includes(to)) flow.member = to;
    else if (!isThere) flow.member = emptiest();
    for (const batch of held) carry(flow, batch);
  }

  /** What has left, not what was taken. */
  const carried = () => {
    const { sentBytes, queuedBytes } = totals();
    return sentBytes - queuedBytes;
  };

  const most = () => {
    const { roundTripMs = 0, loss } = options.path?.() ?? { loss: 0 };
    return loss > FAR_LOSS || roundTripMs > FAR_MS ? MAX_MEMBERS : NEAR_MEMBERS;
  };

  function grow(): void {
    const taken = new Set(members.map(({ number }) => number));
    let number = offer ? 1 : 2;
    while (taken.has(number)) number += 2;
    if (number > MAX_NUMBER) return;
    if (first.send(Uint8Array.of(GROW, number))) join(number);
  }

  /** Hot path. */
  function flowFor(batch: Batch): Flow {
    const now = clock.now();
    const key = flowOf(batch.subarray(HEADER_BYTES));
    let flow = flows.get(key);
    if (!flow) {
      if (flows.size >= MAX_FLOWS) flows.delete(flows.keys().next().value!);
      flow = { member: isBehind(members[0]!, untracked) ? members[0]! : emptiest(), at: now, position: 0 };
      flows.set(key, flow);
    } else if (now - flow.at >= PAUSE_MS && flow !== move?.flow && flow.member.wire.stats().queuedBytes === 0) {
      flow.member = emptiest();
    }
    flow.at = now;
    return flow;
  }

  function carry(flow: Flow, batch: Batch): boolean {
    const { member } = flow;
    member.usedAt = clock.now();
    if (!member.wire.send(batch)) return false;
    flow.position = member.wire.stats().sentBytes;
    return true;
  }

  function keepForMove(batch: Batch, moving: Move): boolean {
    if (moving.bytes + batch.length > HELD_BYTES) {
      past.drops++;
      return false;
    }
    moving.bytes += batch.length;
    return moving.held.push(new Uint8Array(batch)) > 0;
  }

  function emptiest(): Member {
    let best = members[0]!;
    let least = Infinity;
    for (const member of members) {
      const { queuedBytes } = member.wire.stats();
      if (queuedBytes >= least) continue;
      best = member;
      least = queuedBytes;
    }
    return best;
  }

  const first = await open(0, signal, onBatch(0));
  members.push({ number: 0, wire: first, usedAt: clock.now() });
  const stopLooking = clock.every(LOOK_MS, look);

  const end = async () => {
    stop.abort(new Error('closed'));
    stopLooking();
    await Promise.all([...members.map(({ wire }) => dispose(wire)), ...opening.values()]);
  };
  const closed = first.closed.then(async (reason) => {
    await end();
    return reason;
  });

  return {
    rung: first.rung,
    maxBatch: first.maxBatch,
    send(batch) {
      if (members.length === 1 || typeOf(batch) !== FRAMES) return first.send(batch);
      const flow = flowFor(batch);
      return flow === move?.flow ? keepForMove(batch, move) : carry(flow, batch);
    },
    stats: totals,
    closed,
    [Symbol.asyncDispose]: end,
  };
}
