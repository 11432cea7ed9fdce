/** The hellos of one wire: is the other end there, how far is it, how much gets lost. Under a clock, no I/O of its own. */
import type { Clock } from '../base/clock.ts';

/** What a kind of wire bears. Times in ms. */
interface Pace {
  /** Between hellos while frames came or went lately, and else. */
  readonly busy: number;
  readonly idle: number;
  /** Between the first hellos, until one is answered. */
  readonly first: readonly number[];
  /** The other end has come, and our first hello may have come too early for it: ask again after this. */
  readonly again: number;
  /** No answer at all for this long after it opened: the wire does not work. */
  readonly proof: number;
  /** Asked, and not a sign of life for this long: dead. The same for a link that nobody uses. */
  readonly silent: number;
  readonly silentIdle: number;
  /** An unanswered hello counts as lost. */
  readonly lost: number;
}

/**
 * Hellos each 500 ms: one that stays without any sign of life for a second makes a silent death known within 1.5 s. An idle
 * link has 5 s, 16 bytes each way. Through a chat server they are paced with everything else (6 kB/s or less for all links): its
 * queue may hold 32 KiB, so there an answer may take ten seconds, and silence has to last a minute.
 */
const PACES = {
  live: {
    busy: 500,
    idle: 5000,
    first: [0, 250, 500, 1000],
    again: 100,
    proof: 5000,
    silent: 1000,
    silentIdle: 3000,
    lost: 1500,
  },
  stanza: {
    busy: 15_000,
    idle: 15_000,
    first: [0, 2000, 4000, 8000, 15_000],
    again: 1000,
    proof: Number.POSITIVE_INFINITY,
    silent: 60_000,
    silentIdle: 60_000,
    lost: 30_000,
  },
} as const satisfies Record<string, Pace>;

/** Frames in this time make a link a busy one. */
const BUSY_MS = 10_000;

/** While an answer is due we ask again this often. */
const URGENT_MS = 500;

/** Suspected of being dead: so long, or three round trips, if that is more. */
const SUSPECT_MS = 500;

/** A standby through the server that has to carry now: a sign of life within this time, or it is not one. */
const CONFIRM_MS = 4000;

/** A timer that is this late says that we ourselves stood still, not the other end. */
const STALL_MS = 400;

/** Probes that loss is counted over. */
const WINDOW = 20;

/** Weight of the newest round trip in the average. */
const NEWEST = 0.25;

export interface HelloOptions {
  readonly kind: keyof typeof PACES;
  readonly clock: Clock;
  /** Sends a hello; the answer's number comes back to `answered`. */
  readonly ask: () => number;
  /** The first answer is there: both directions work. */
  readonly onProved: () => void;
  readonly onMeasure: () => void;
  /** It has been silent for too long. It may be heard again later. */
  readonly onSilent: (reason: string) => void;
}

export interface Hello extends Disposable {
  readonly proved: boolean;
  /** Of the clock: when we last heard anything, as far as we looked. */
  readonly heardAt: number;
  readonly roundTripMs: number | undefined;
  /** Share of the last 20 hellos that were not answered in time, 0 to 1. */
  readonly loss: number;
  /** Hot path: something arrived. */
  heard(frames: boolean): void;
  /** Hot path: frames leave. */
  used(): void;
  /** The other end asks: then it can hear, too. */
  asked(): void;
  answered(sequence: number): void;
  /** The link sends on this wire from now on, or no longer. */
  carry(carries: boolean): void;
  /** There are signs that the other end has lost this wire: look at once. */
  suspect(): void;
}

interface Probe {
  readonly sequence: number;
  readonly at: number;
  answered: boolean;
}

export function createHello(options: HelloOptions): Hello {
  const { clock, kind } = options;
  const pace: Pace = PACES[kind];
  const opened = clock.now();
  let probes: Probe[] = [];
  let proved = false;
  let carries = false;
  let closed = false;
  let heardAt = opened;
  let fresh = false;
  let active = false;
  let busyUntil = -1;
  let askedAt = -1;
  let firsts = 0;
  let average: number | undefined;
  let suspected = false;
  /** A hello is out, and since then nothing was heard. */
  let waiting: { since: number; limit: number } | undefined;
  let cancel = () => {};
  let due = opened;

  const plan = (at: number) => {
    cancel();
    const now = clock.now();
    due = Math.max(at, now);
    cancel = clock.after(due - now, tick);
  };

  const ask = (limit: number) => {
    const now = clock.now();
    askedAt = now;
    // Far away is not dead.
    const patient = Math.max(limit, 3 * (average ?? 0));
    waiting ??= { since: now, limit: patient };
    waiting.limit = Math.min(waiting.limit, patient);
    probes.push({ sequence: options.ask(), at: now, answered: false });
    if (probes.length > WINDOW) probes = probes.slice(-WINDOW);
  };

  const hear = (now: number) => {
    heardAt = now;
    waiting = undefined;
    suspected = false;
  };

  /** What came and went since the last look. */
  const look = (now: number) => {
    if (fresh) hear(now);
    if (active) busyUntil = now + BUSY_MS;
    fresh = false;
    active = false;
  };

  const gap = (now: number) => {
    if (waiting && kind === 'live') return URGENT_MS;
    return now < busyUntil ? pace.busy : pace.idle;
  };

  function tick(): void {
    const now = clock.now();
    if (waiting && now - due > STALL_MS) waiting.since = now;
    look(now);
    if (!proved) return prove(now);
    if (!carries) return; // a wire that stands by costs nothing
    if (waiting && now - waiting.since >= waiting.limit) return silence('silent');
    if (now - askedAt >= gap(now)) ask(now < busyUntil ? pace.silent : pace.silentIdle);
    plan(Math.min(askedAt + gap(now), waiting ? waiting.since + waiting.limit : Number.POSITIVE_INFINITY));
  }

  function prove(now: number): void {
    if (now - opened >= pace.proof) return silence('it opened, but no answer came over it');
    ask(Number.POSITIVE_INFINITY);
    firsts = Math.min(firsts + 1, pace.first.length - 1);
    plan(Math.min(now + pace.first[firsts]!, opened + pace.proof));
  }

  function silence(reason: string): void {
    cancel();
    proved = false;
    waiting = undefined;
    firsts = 0;
    if (kind === 'stanza') plan(clock.now() + pace.first[1]!);
    options.onSilent(reason);
  }

  const used = () => {
    if (active) return;
    active = true;
    // The first frame after a quiet time: from now on a death has to be noticed soon.
    if (carries && proved && kind === 'live' && !closed && clock.now() >= busyUntil) plan(clock.now());
  };

  plan(opened);

  return {
    get proved() {
      return proved;
    },
    get heardAt() {
      return fresh ? clock.now() : heardAt;
    },
    get roundTripMs() {
      return average;
    },
    get loss() {
      const now = clock.now();
      const judged = probes.filter(({ answered, at }) => answered || now - at >= pace.lost);
      return judged.length === 0 ? 0 : judged.filter(({ answered }) => !answered).length / judged.length;
    },
    heard(frames) {
      if (frames) {
        fresh = true;
        used();
      } else hear(clock.now());
    },
    used,
    asked() {
      hear(clock.now());
      if (!proved && !closed) plan(Math.min(due, askedAt + pace.again));
    },
    answered(sequence) {
      const probe = probes.find((each) => each.sequence === sequence);
      if (!probe || probe.answered || closed) return;
      probe.answered = true;
      const now = clock.now();
      hear(now);
      average = average === undefined ? now - probe.at : average + NEWEST * (now - probe.at - average);
      if (!proved) {
        proved = true;
        if (carries) plan(now + gap(now));
        options.onProved();
      }
      options.onMeasure();
    },
    carry(next) {
      if (carries === next) return;
      carries = next;
      if (!next || !proved || closed) return;
      // A wire that has just answered needs no question; one that stood by has to show that it still works.
      if (kind === 'stanza' && clock.now() - heardAt > URGENT_MS) ask(CONFIRM_MS);
      plan(clock.now() + (waiting ? URGENT_MS : gap(clock.now())));
    },
    suspect() {
      const now = clock.now();
      if (closed || !proved || !carries || kind !== 'live' || now - this.heardAt < SUSPECT_MS) return;
      if (suspected && waiting) return;
      suspected = true;
      waiting = undefined;
      ask(SUSPECT_MS);
      plan(now + SUSPECT_MS);
    },
    [Symbol.dispose]() {
      closed = true;
      cancel();
    },
  };
}
