/** Keeps one link of the plan on its best wire: climbs while it is used, comes down when a wire dies, tells why it is where it is. */
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { BatchHandler, Wire } from '../net/wire.ts';
import { createClimb, type Climb } from './climb.ts';
import { createLaneDoor, type Lane, type LinkRung } from './lane.ts';
import { createRates } from './rates.ts';

export type { LinkRung } from './lane.ts';

/*
 * The way of a link:
 *   1. The stanza wire opens at once, better ones are tried beside it: the first frames do not wait for ICE.
 *   2. A wire counts when an answer to a hello has come back over it. The best that counts is sent on; all are listened to.
 *   3. The one that was left is drained, both ends say on it that they have left (the last thing that they send there), then it
 *      is closed. The stanza wire stays: it costs nothing as long as nothing is sent. The rung below is not kept open: a second
 *      connection costs hellos, memory and NAT bindings for as long as the link lives, dialling again costs half a second, and
 *      for that long stanza or another way through the graph carries.
 *   4. A wire that is closed or silent is replaced at once by the best that still counts, and all better rungs are tried again.
 * Both ends do the same; one offers, the other listens for offers. A wire that only one of them has lost: the other one is told
 * by what it hears on a worse wire, looks, and finds it silent; or a new offer takes the place of its old wire.
 */
const ALL: readonly LinkRung[] = ['direct', 'webrtc', 'stanza'];

/** What is queued on a wire that we left may still go out for this long. */
const DRAIN_MS = 2000;
const DRAIN_LOOK_MS = 50;
/** The other end has this long to leave, too. */
const LEAVE_MS = 5000;
/** Both have left: what is under way on parallel connections arrives in this time. */
const LINGER_MS = 250;

export interface Measure {
  readonly rung: LinkRung;
  readonly roundTripMs: number;
  readonly loss: number;
}

export interface LadderState {
  readonly rung: LinkRung | 'down';
  /** Largest batch that the present wire takes. */
  readonly maxBatch: number;
  /** Why the link is on none of the rungs above. */
  readonly reasons: Readonly<Partial<Record<LinkRung, string>>>;
  readonly roundTripMs: number | undefined;
  /** Share of the last hellos without an answer, 0 to 1. */
  readonly loss: number;
  /** Of frames, over the life of the link, and per second of the last five. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly sentPerSecond: number;
  readonly receivedPerSecond: number;
  /** Batches that its wires refused. */
  readonly drops: number;
  /** On this rung since so many seconds. */
  readonly seconds: number;
}

export interface LadderOptions {
  /** Node numbers of both ends, and the LAN. */
  readonly self: number;
  readonly node: number;
  readonly lan: number;
  /** Best first. */
  readonly rungs: readonly LinkRung[];
  /** True at exactly one of both ends. */
  readonly offer: boolean;
  readonly open: (rung: LinkRung, signal: AbortSignal, onBatch: BatchHandler) => Promise<Wire>;
  /** Frames and notes, from whichever wire. */
  readonly onBatch: BatchHandler;
  /** The wire to send on from now on; the returned function takes it away. */
  readonly attach: (wire: Wire) => () => void;
  /** Another rung. */
  readonly onState: (rung: LinkRung | 'down') => void;
  readonly onMeasure: (measure: Measure) => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: () => number;
}

export interface Ladder extends AsyncDisposable {
  /** Only these rungs from now on, and all of them are tried at once. */
  allow(rungs: readonly LinkRung[]): void;
  state(): LadderState;
}

interface Opened extends AsyncDisposable {
  readonly wire: Wire;
  readonly enter: () => Lane;
}

export function keepLadder(options: LadderOptions): Ladder {
  const { self, node, lan, offer, clock, log, onState, random = Math.random } = options;
  let order = options.rungs;
  const lanes = new Set<Lane>();
  const leaving = new Set<Lane>();
  const closing = new Set<Promise<void>>();
  const past = { sentBytes: 0, receivedBytes: 0, drops: 0 };
  let sending: Lane | undefined;
  let detach = () => {};
  let since = clock.now();
  let ended = false;

  const climbs = new Map<LinkRung, Climb>(
    ALL.map((rung) => [
      rung,
      createClimb<Opened>({ rung, offer, clock, random, log, open: (signal) => open(rung, signal), onOpen }),
    ]),
  );

  const height = (rung: LinkRung) => (order.includes(rung) ? order.indexOf(rung) : ALL.length);
  const usable = (lane: Lane) => order.includes(lane.rung) && !leaving.has(lane) && !lane.peerLeft;
  /** Of wires that nobody has left the best one; one that is being left rather than none. */
  const rank = (lane: Lane) => height(lane.rung) + (usable(lane) ? 0 : 2 * ALL.length);

  async function open(rung: LinkRung, signal: AbortSignal): Promise<Opened> {
    let lane: Lane | undefined;
    const door = createLaneDoor({
      rung,
      self,
      node,
      lan,
      clock,
      onBatch: options.onBatch,
      onUse: () => {
        // The other end sends on a worse wire than we do: it may have lost the better one.
        if (lane && lane !== sending && sending && rank(sending) < rank(lane)) sending.hello.suspect();
      },
      onProved: settle,
      onMeasure: () => {
        settle(); // a wire below may have waited for this sign of life
        if (lane) measured(lane);
      },
      onSilent: (reason) => lane && silent(lane, reason),
      onPeerLeft: () => lane && peerLeft(lane),
    });
    const wire = await options.open(rung, signal, door.onBatch);
    return { wire, enter: () => (lane = door.opened(wire)), [Symbol.asyncDispose]: () => close(wire) };
  }

  function onOpen({ wire, enter }: Opened): void {
    const lane = enter();
    lanes.add(lane);
    void wire.closed.then((reason) => remove(lane, reason));
    // Who opens a worse wire has lost the better one, or not got it yet.
    if (sending && height(sending.rung) < height(lane.rung)) sending.hello.suspect();
    settle();
  }

  function measured(lane: Lane): void {
    const { roundTripMs, loss } = lane.hello;
    if (lane === sending && roundTripMs !== undefined) options.onMeasure({ rung: lane.rung, roundTripMs, loss });
  }

  function silent(lane: Lane, reason: string): void {
    log.info('wire silent', { wire: lane.rung, reason });
    if (lane.rung === 'stanza') settle();
    else remove(lane, reason);
  }

  function remove(lane: Lane, reason: string): void {
    if (!lanes.delete(lane)) return;
    const replaced = leaving.delete(lane) || lane.peerLeft;
    const lived = clock.now() - lane.openedAt;
    past.sentBytes += lane.sentBytes;
    past.receivedBytes += lane.receivedBytes;
    past.drops += lane.wire.stats().drops;
    lane.hello[Symbol.dispose]();
    const closed = close(lane.wire).finally(() => closing.delete(closed));
    closing.add(closed);
    if (ended) return;
    const fell = lane === sending;
    settle();
    if (replaced) climbs.get(lane.rung)?.lost('replaced', Number.POSITIVE_INFINITY);
    else climbs.get(lane.rung)?.lost(reason, lived);
    if (!fell) return;
    log.info('wire lost', { wire: lane.rung, reason, now: sending?.rung ?? 'down' });
    for (const [rung, climb] of climbs) if (rung !== lane.rung) climb.retry();
  }

  /** Whatever happened: sends on the best wire, leaves what is not needed, tries what is better. */
  function settle(): void {
    if (ended) return;
    const [best] = [...lanes].filter(({ hello }) => hello.proved).toSorted((a, b) => rank(a) - rank(b));
    if (best !== sending) move(best);
    const top = sending && usable(sending) ? height(sending.rung) : ALL.length;
    for (const lane of lanes) if (!leaving.has(lane) && isDone(lane)) leave(lane);
    for (const [rung, climb] of climbs) {
      climb.want(order.includes(rung) && (!offer || rung === 'stanza' || height(rung) <= top));
    }
  }

  function move(next: Lane | undefined): void {
    const before = sending;
    const unplug = detach;
    sending = next;
    since = clock.now();
    before?.hello.carry(false);
    next?.hello.carry(true);
    detach = next ? options.attach(next.face) : () => {};
    unplug();
    if (next) log.info('link on another wire', { wire: next.rung, before: before?.rung ?? 'down' });
    onState(next?.rung ?? 'down');
    if (next) measured(next);
  }

  function isDone(lane: Lane): boolean {
    if (!order.includes(lane.rung)) return true;
    if (!sending || lane === sending || rank(lane) < rank(sending)) return false;
    // The better one is heard since this one was opened: then it was not opened because the better one is dead.
    return lane.rung !== 'stanza' && sending.hello.heardAt > lane.openedAt;
  }

  function leave(lane: Lane): void {
    leaving.add(lane);
    const until = clock.now() + DRAIN_MS;
    const look = () => {
      if (!lanes.has(lane)) return;
      if (lane.wire.stats().queuedBytes > 0 && clock.now() < until) return void clock.after(DRAIN_LOOK_MS, look);
      lane.sayLeft();
      clock.after(lane.peerLeft ? LINGER_MS : LEAVE_MS, () => remove(lane, 'left'));
    };
    look();
    if (lane === sending) settle();
  }

  function peerLeft(lane: Lane): void {
    settle();
    if (lane.left) clock.after(LINGER_MS, () => remove(lane, 'left'));
  }

  const rates = createRates(clock, () => totals());

  function totals() {
    const all = { ...past };
    for (const lane of lanes) {
      all.sentBytes += lane.sentBytes;
      all.receivedBytes += lane.receivedBytes;
      all.drops += lane.wire.stats().drops;
    }
    return all;
  }

  function whyNot(rung: LinkRung): string {
    if (!order.includes(rung)) return 'not allowed by the job';
    const lane = [...lanes].find((each) => each.rung === rung);
    if (lane) return lane.peerLeft || leaving.has(lane) ? 'is being left' : 'is open, no answer has come over it yet';
    return climbs.get(rung)?.why() ?? 'not tried yet';
  }

  async function close(wire: Wire): Promise<void> {
    try {
      await wire[Symbol.asyncDispose]();
    } catch (error) {
      log.warn('wire not closed cleanly', { wire: wire.rung, reason: describeError(error) });
    }
  }

  settle();
  let disposed: Promise<void> | undefined;

  return {
    allow(rungs) {
      order = options.rungs.filter((rung) => rungs.includes(rung));
      for (const climb of climbs.values()) climb.retry();
      settle();
    },
    state() {
      const better = ALL.slice(0, sending ? ALL.indexOf(sending.rung) : ALL.length);
      return {
        rung: sending?.rung ?? 'down',
        maxBatch: sending?.wire.maxBatch ?? 0,
        reasons: Object.fromEntries(better.map((rung) => [rung, whyNot(rung)])),
        roundTripMs: sending?.hello.roundTripMs,
        loss: sending?.hello.loss ?? 0,
        ...totals(),
        ...rates.now(),
        seconds: Math.round((clock.now() - since) / 1000),
      };
    },
    [Symbol.asyncDispose]() {
      disposed ??= (async () => {
        const attempts = [...climbs.values()].map((climb) => climb.end());
        move(undefined);
        ended = true;
        rates[Symbol.dispose]();
        for (const lane of lanes) remove(lane, 'closed by us');
        await Promise.all([...attempts, ...closing]);
      })();
      return disposed;
    },
  };
}
