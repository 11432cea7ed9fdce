/** Who takes part in a job: asks peers for leases, keeps the leases alive, gives places on the LAN, lets go of the dead. */
import type { Clock } from '../base/clock.ts';
import { describeError, errorCode, KithError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Capacity } from '../protocol/capacity.ts';
import { LEASE_SECONDS, REQUEST_TIMEOUT_MS } from '../protocol/limits.ts';
import type { GuestReport } from '../protocol/messages.ts';
import type { ImageRef } from '../protocol/plan.ts';
import type { Job } from './define.ts';
import type { Ask } from './guest-client.ts';
import { freeNodes, MASTER_NODE, unfit, type Member } from './plan.ts';

/** A human may have to be found and asked (XEP-0050 gives no figure; two minutes is what people bear). */
const CONSENT_MS = 120_000;

export interface Candidate {
  readonly peer: string;
  readonly nick: string;
  readonly alive: boolean;
  readonly capacity: Capacity | undefined;
}

export interface Place extends Member {
  readonly nick: string;
  readonly lease: string;
  report: GuestReport | undefined;
  /** Of the plan that was last sent there; 0 for none. */
  revision: number;
}

/** Who is not asked again before he has left the room; or, where `until` is set, before he announces another capacity than that. */
interface Refused {
  readonly why: string;
  readonly until: Capacity | undefined;
}

export interface MembershipOptions {
  readonly job: Job;
  readonly id: string;
  readonly images: Readonly<Record<string, ImageRef>>;
  readonly ask: Ask;
  readonly clock: Clock;
  readonly log: Log;
  /** Places changed: a new revision of the plan is due. */
  readonly onChange: () => void;
  readonly signal: AbortSignal;
}

export interface Membership extends AsyncDisposable {
  readonly places: readonly Place[];
  /** Takes the place of the master guest on this very machine. Throws when our own owner policy refuses. */
  joinSelf(peer: string, nick: string): Promise<void>;
  /** Looks at everybody in the room: asks who has not been asked, drops who is gone. */
  consider(candidates: readonly Candidate[]): void;
  /** `again: false`: this peer is not asked again before it has left the room and come back. */
  drop(peer: string, reason: string, options?: { readonly again: boolean }): void;
  place(peer: string, lease: string): Place | undefined;
  /** Why a peer that is still in the room said no, or was dropped for good. */
  refusal(peer: string): string | undefined;
}

export function openMembership(options: MembershipOptions): Membership {
  const { job, id, images, ask, clock, log, signal } = options;
  const places = new Map<string, Place>();
  const refused = new Map<string, Refused>();
  const asking = new Map<string, AbortController>();
  let closing = false;

  const request = async (peer: string, role: 'master' | 'worker', wait: AbortSignal) => {
    const { image: name, memoryMiB, cpus, diskMiB } = job[role];
    const image = images[name];
    if (!image) throw new TypeError(`image ${name} was not resolved`);
    return ask(
      peer,
      {
        kind: 'lease.request',
        job: id,
        jobName: job.name,
        role,
        memoryMiB,
        cpus,
        image,
        seconds: LEASE_SECONDS,
        diskMiB,
        totalSeconds: job.seconds,
      },
      { timeoutMs: CONSENT_MS, signal: wait },
    );
  };

  const invite = async (candidate: Candidate) => {
    const wait = new AbortController();
    asking.set(candidate.peer, wait);
    try {
      const { lease } = await request(candidate.peer, 'worker', AbortSignal.any([signal, wait.signal]));
      const node = freeNodes(job, [...places.values()])[0];
      if (closing || node === undefined) {
        void endLease(candidate.peer, lease, closing ? 'the job ended' : 'the LAN is full');
        return;
      }
      places.set(candidate.peer, {
        peer: candidate.peer,
        nick: candidate.nick,
        node,
        lease,
        report: undefined,
        revision: 0,
      });
      log.info('worker joined', { peer: candidate.nick, node });
    } catch (error) {
      if (closing || wait.signal.aborted) return;
      const why = `said no: ${error instanceof Error ? error.message : String(error)}`;
      refused.set(candidate.peer, { why, until: errorCode(error) === 'job.refused' ? undefined : candidate.capacity });
      log.warn('peer refused', { peer: candidate.nick, code: errorCode(error), reason: describeError(error) });
    } finally {
      asking.delete(candidate.peer);
      if (!closing) options.onChange();
    }
  };

  const endLease = (peer: string, lease: string, reason: string) =>
    ask(peer, { kind: 'lease.end', lease, reason }, { timeoutMs: REQUEST_TIMEOUT_MS }).catch((error: unknown) =>
      log.debug('lease not ended', { peer, reason: describeError(error) }),
    );

  const drop = (peer: string, reason: string, { again } = { again: true }) => {
    const place = places.get(peer);
    if (!place) return;
    places.delete(peer);
    if (!again) refused.set(peer, { why: reason, until: undefined });
    log.warn('worker lost', { peer: place.nick, reason });
    void endLease(peer, place.lease, reason);
    options.onChange();
  };

  // A third of the lease: two renewals may be lost before the lease is (design: leases).
  const stopRenewing = clock.every((LEASE_SECONDS * 1000) / 3, () => {
    for (const place of places.values()) {
      ask(
        place.peer,
        { kind: 'lease.renew', lease: place.lease, seconds: LEASE_SECONDS },
        { timeoutMs: REQUEST_TIMEOUT_MS, signal },
      ).catch((error: unknown) => {
        if (!signal.aborted && errorCode(error) === 'job.no-lease') drop(place.peer, 'it has given the lease back');
      });
    }
  });

  return {
    get places() {
      return [...places.values()].toSorted((a, b) => a.node - b.node);
    },
    async joinSelf(peer, nick) {
      const { lease } = await request(peer, 'master', signal).catch((error: unknown) => {
        if (!(error instanceof KithError)) throw error;
        throw new KithError({
          code: error.code,
          message: `this machine cannot host the master guest: ${error.message}`,
          hint: error.hint ?? 'lower master.memoryMiB in the job or raise limits in the configuration',
          cause: error,
        });
      });
      places.set(peer, { peer, nick, node: MASTER_NODE, lease, report: undefined, revision: 0 });
    },
    consider(candidates) {
      const present = new Map(candidates.filter(({ alive }) => alive).map((candidate) => [candidate.peer, candidate]));
      for (const place of places.values())
        if (place.node !== MASTER_NODE && !present.has(place.peer)) drop(place.peer, 'it left the room');
      for (const [peer, wait] of asking) if (!present.has(peer)) wait.abort();
      for (const [peer, { until }] of refused) {
        const now = present.get(peer);
        if (!now || (until !== undefined && now.capacity !== until)) refused.delete(peer);
      }
      let free = freeNodes(job, [...places.values()]).length - asking.size;
      for (const candidate of present.values()) {
        if (free <= 0 || places.has(candidate.peer) || asking.has(candidate.peer) || refused.has(candidate.peer))
          continue;
        if (unfit(job, candidate.capacity) !== undefined) continue;
        free--;
        void invite(candidate);
      }
    },
    drop,
    refusal: (peer) => refused.get(peer)?.why,
    place: (peer, lease) => {
      const place = places.get(peer);
      return place?.lease === lease ? place : undefined;
    },
    async [Symbol.asyncDispose]() {
      closing = true;
      stopRenewing();
      for (const wait of asking.values()) wait.abort();
      const all = [...places.values()];
      places.clear();
      await Promise.all(all.map(({ peer, lease }) => endLease(peer, lease, 'the job ended')));
    },
  };
}
