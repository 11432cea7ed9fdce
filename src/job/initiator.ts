/** Runs a job: leases, plan, guests, the script, and everything given back at the end. */
import { EventEmitter, once } from 'node:events';
import { orAborted } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { describeError, KithError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import { REQUEST_TIMEOUT_MS } from '../protocol/limits.ts';
import type { RequestOf } from '../protocol/messages.ts';
import type { ImageRef, Plan, Rung } from '../protocol/plan.ts';
import { execRemote, type Ask } from './guest-client.ts';
import type { Job, Link } from './define.ts';
import { createLan } from './lan.ts';
import { createLinks } from './links.ts';
import { openMembership, type Candidate, type Membership, type Place } from './membership.ts';
import { makePlan, MASTER_NODE, tooFew, topologyOf, unfit } from './plan.ts';
import { scriptError } from './script-error.ts';
import { createSuspicion } from './suspicion.ts';

// The way of a job, in the order of this file:
// 1. our own owner grants the master's lease, the room is asked for workers   (membership)
// 2. once `min` workers said yes, revision 1 of the plan goes to everybody    (spread)
// 3. hosts fetch images, open links, boot guests, and report                  (worker.ts, hosting.ts)
// 4. the script runs: lan.ready(), guest.exec(), ...                          (lan.ts)
// 5. newcomers and losses make a new revision, spread to everybody            (consider, spread)
// 6. end, Ctrl-C or an error: all leases are given back                       (dispose)

/** An error names this many peers that could not help; a full room has hundreds. */
const NAMED = 8;

export type JobState = 'waiting' | 'starting' | 'running' | 'ready' | 'ending';

export interface InitiatorOptions {
  readonly job: Job;
  /** Full JID and nickname of this very peer. */
  readonly self: { readonly jid: string; readonly nick: string };
  readonly images: Readonly<Record<string, ImageRef>>;
  readonly masterKey: string;
  readonly wires: readonly Rung[];
  readonly ask: Ask;
  readonly candidates: () => readonly Candidate[];
  /** Wait this long for `min` workers; for ever if undefined. */
  readonly waitSeconds: number | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly print: (text: string) => void;
  readonly signal: AbortSignal;
  /** Seconds spent: `rooms` until the first plan, `guests` until all are ready. */
  readonly onState: (state: JobState) => void;
}

export interface JobRun extends AsyncDisposable {
  readonly id: string;
  readonly state: JobState;
  readonly plan: Plan | undefined;
  readonly places: readonly Place[];
  /** Runs the job to the end of its script; the value is what the script returned. */
  readonly result: Promise<unknown>;
  /** Somebody came, went, died or announced another capacity. */
  consider(): void;
  onReport(from: string, message: RequestOf<'guest.report'>): void;
  exec(
    guest: string,
    command: readonly string[],
    options: { readonly timeoutSeconds: number; readonly signal?: AbortSignal | undefined },
  ): ReturnType<typeof execRemote>;
  /** The link between two guests. */
  link(a: string, b: string): Link;
  /** The peer and lease behind a guest's name. */
  where(guest: string): Place;
}

export function startJob(options: InitiatorOptions): JobRun {
  const { job, self, ask, log, clock } = options;
  const id = newId();
  const events = new EventEmitter().setMaxListeners(0);
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  let state: JobState = 'waiting';
  let plan: Plan | undefined;
  let lastLoss: string | undefined;
  /** By lease: the last delivery of a plan, queued or under way. */
  const spreading = new Map<string, Promise<void>>();

  const become = (next: JobState) => {
    if (state === next || state === 'ending') return;
    state = next;
    log.info(`job ${next}`);
    options.onState(next);
    events.emit('change');
  };

  const membership: Membership = openMembership({
    job,
    id,
    images: options.images,
    ask,
    clock,
    log,
    signal,
    onChange: () => {
      events.emit('change');
      if (plan) spread();
    },
  });

  const nextPlan = (revision: number) =>
    makePlan({
      job,
      id,
      revision,
      initiator: self.jid,
      members: membership.places,
      images: options.images,
      wires: options.wires,
      masterKey: options.masterKey,
    });

  const spread = () => {
    const members = membership.places.map(({ peer, node }) => `${node}=${peer}`).join();
    if (plan && members === plan.guests.map(({ peer, node }) => `${node}=${peer}`).join()) return;
    const next = nextPlan((plan?.job.revision ?? 0) + 1);
    plan = next;
    log.info('plan made', { revision: next.job.revision, guests: next.guests.length });
    for (const place of membership.places) spreading.set(place.lease, deliver(place, spreading.get(place.lease)));
  };

  // One after the other for each peer, so that none sees an older revision after a newer one; a slow peer delays nobody else.
  const deliver = async (place: Place, before: Promise<void> | undefined) => {
    await before;
    const next = plan;
    if (signal.aborted || !next?.guests.some(({ peer, node }) => peer === place.peer && node === place.node)) return;
    if (place.revision === next.job.revision || !membership.place(place.peer, place.lease)) return;
    place.revision = next.job.revision;
    try {
      await ask(
        place.peer,
        { kind: 'plan.apply', lease: place.lease, plan: next },
        { timeoutMs: REQUEST_TIMEOUT_MS * 3, signal },
      );
      await links
        .renew(place)
        .catch((error: unknown) => log.warn('link not set again', { reason: describeError(error) }));
    } catch (error) {
      if (!signal.aborted) lose(place, error instanceof Error ? error.message : String(error));
    }
  };

  const lose = (place: Place, why: string) => {
    lastLoss = `${place.nick}: ${why}`;
    if (place.node !== MASTER_NODE) membership.drop(place.peer, why, { again: false });
    else
      stop.abort(
        new KithError({
          code: 'job.guest-failed',
          message: `the master guest is lost: ${why}`,
          hint: 'kith logs master shows its console',
        }),
      );
    events.emit('change');
  };

  const suspicion = createSuspicion({ ask, places: () => membership.places, lose, clock, signal });

  const changed = async (until: AbortSignal) => {
    await once(events, 'change', { signal: AbortSignal.any([until, signal]) });
  };

  const links = createLinks({ ask, plan: () => plan, places: () => membership.places, signal });

  const lan = createLan({
    link: (a, b) => links.link(a, b),
    ask,
    plan: () => plan ?? nextPlan(1),
    places: () => membership.places,
    topology: topologyOf(job).kind,
    min: job.min,
    lastLoss: () => lastLoss,
    changed,
    signal,
  });

  const whyNot = () =>
    options
      .candidates()
      .filter(({ peer }) => !membership.places.some((place) => place.peer === peer))
      .slice(0, NAMED)
      .map(({ peer, nick, alive, capacity }) => {
        const why = alive ? (unfit(job, capacity) ?? membership.refusal(peer)) : 'is silent';
        return `${nick} ${why ?? 'has not answered'}`;
      });

  const gather = async () => {
    await membership.joinSelf(self.jid, self.nick);
    membership.consider(options.candidates());
    const deadline =
      options.waitSeconds === undefined
        ? signal
        : AbortSignal.any([signal, AbortSignal.timeout(options.waitSeconds * 1000)]);
    while (membership.places.length - 1 < job.min) {
      try {
        await changed(deadline);
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        throw deadline.aborted ? tooFew(membership.places.length - 1, job, whyNot()) : error;
      }
    }
  };

  const run = async (): Promise<unknown> => {
    try {
      await gather();
      become('starting');
      spread();
      await Promise.all(spreading.values());
      become('running');
      const ready = async (...args: Parameters<typeof lan.ready>) => {
        await lan.ready(...args);
        become('ready');
      };
      const its = Object.create(lan, { ready: { value: ready } }) as typeof lan;
      const script = job.run({ lan: its, signal, print: options.print }).catch((error: unknown) => {
        throw scriptError(job.name, error);
      });
      return await orAborted(script, signal); // a script that never looks at the signal holds nobody up
    } catch (error) {
      if (stop.signal.aborted && !options.signal.aborted) throw stop.signal.reason;
      throw error;
    }
  };

  const where = (name: string): Place => {
    const guest = plan?.guests.find((each) => each.name === name);
    const place = membership.places.find(({ peer }) => peer === guest?.peer);
    if (place) return place;
    const known = plan?.guests.map((each) => each.name) ?? [];
    throw new KithError({
      code: 'job.no-guest',
      message: `there is no guest ${name}`,
      hint: `the guests are ${known.join(', ') || 'not planned yet'}`,
    });
  };

  const result = run();
  result.catch(() => {}); // whoever awaits `result` gets the error; nobody awaiting it is no crash

  return {
    id,
    result,
    get state() {
      return state;
    },
    get plan() {
      return plan;
    },
    get places() {
      return membership.places;
    },
    consider: () => membership.consider(options.candidates()),
    onReport(from, { job: of, lease, report }) {
      const place = of === id ? membership.place(from, lease) : undefined;
      if (!place) return;
      const before = place.report?.state;
      place.report = report;
      if (report.state !== before)
        log.info(`guest ${report.state}`, { peer: place.nick, seconds: report.bootSeconds, reason: report.reason });
      if (report.state === 'failed' || report.state === 'stopped') lose(place, report.reason ?? report.state);
      suspicion.heard(place);
      events.emit('change');
    },
    where,
    link: (a, b) => links.link(a, b),
    exec: (guest, command, how) =>
      execRemote(ask, where(guest), command, {
        timeoutSeconds: how.timeoutSeconds,
        signal: how.signal ? AbortSignal.any([how.signal, signal]) : signal,
      }),
    async [Symbol.asyncDispose]() {
      become('ending');
      stop.abort(new KithError({ code: 'job.ended', message: 'the job ended', retry: 'never' }));
      await Promise.all(spreading.values());
      await membership[Symbol.asyncDispose]();
    },
  };
}
