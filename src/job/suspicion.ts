/**
 * Finds out sooner that a peer is dead: its neighbours say that all links to it are down, and it does not answer. A server that keeps
 * the session of a machine without power for it (XEP-0198) shows it as present for 30 s more.
 */
import type { Clock } from '../base/clock.ts';
import { errorCode } from '../base/errors.ts';
import { LEASE_SECONDS } from '../protocol/limits.ts';
import type { GuestReport, LinkReport } from '../protocol/messages.ts';
import type { Ask } from './guest-client.ts';
import type { Place } from './membership.ts';
import { MASTER_NODE } from './plan.ts';

/** For one answer. A suspect at a slow server may need that long; more would be no better than to wait for the room. */
const ANSWER_MS = 3000;

/** A neighbour's word counts for this long: so we know that our own line works, and it is not we who are cut off. */
const FRESH_MS = 15_000;

/** A peer is not asked again before this; so long its silence counts. */
const AGAIN_MS = 10_000;

/** On the wire through the server since fewer seconds: it has just lost a better one. */
const FELL_SECONDS = 10;

const GONE = new Set(['xmpp.timeout', 'xmpp.peer-gone']);

export interface Suspicion {
  /** A report of this place has come, and is in it. */
  heard(place: Place): void;
}

export function createSuspicion(options: {
  readonly ask: Ask;
  readonly places: () => readonly Place[];
  /** It is dead. */
  readonly lose: (place: Place, why: string) => void;
  readonly clock: Pick<Clock, 'now'>;
  readonly signal: AbortSignal;
}): Suspicion {
  const { ask, places, lose, clock, signal } = options;
  const heardAt = new Map<string, number>();
  /** Places that some neighbour has had a link with, and a better one than through the server: before that, `down` means not yet. */
  const linked = new Set<string>();
  const risen = new Set<string>();
  const asked = new Map<string, { readonly at: number; silent: boolean }>();

  /** What its neighbours say of the links with it. */
  const wordsOn = (suspect: Place) =>
    places().flatMap((place) => {
      const link = place === suspect ? undefined : linkOf(place.report, suspect.node);
      return link ? [{ place, link }] : [];
    });

  const isFresh = ({ place }: { readonly place: Place }) =>
    place.node !== MASTER_NODE && clock.now() - (heardAt.get(place.lease) ?? Number.NEGATIVE_INFINITY) < FRESH_MS;

  /** Nobody has a link with it: it is down, or has fallen back on the server just now, where nobody may be listening. */
  const isDoubtful = (place: Place): boolean => {
    const words = wordsOn(place);
    const fell = ({ wire, seconds }: LinkReport) =>
      wire === 'stanza' && seconds < FELL_SECONDS && risen.has(place.lease);
    return (
      linked.has(place.lease) && words.some(isFresh) && words.every(({ link }) => link.wire === 'down' || fell(link))
    );
  };

  const judge = (place: Place) => {
    if (!asked.get(place.lease)?.silent || !places().includes(place)) return;
    const words = wordsOn(place);
    if (words.some(isFresh) && words.every(({ link }) => link.wire === 'down'))
      lose(place, 'all links to it are down, and it does not answer');
  };

  const look = async (place: Place): Promise<void> => {
    if (clock.now() - (asked.get(place.lease)?.at ?? Number.NEGATIVE_INFINITY) < AGAIN_MS) return judge(place);
    const question = { at: clock.now(), silent: false };
    asked.set(place.lease, question);
    try {
      await ask(
        place.peer,
        { kind: 'lease.renew', lease: place.lease, seconds: LEASE_SECONDS },
        { timeoutMs: ANSWER_MS, signal },
      );
    } catch (error) {
      question.silent = !signal.aborted && GONE.has(errorCode(error));
      judge(place);
    }
  };

  return {
    heard(place) {
      heardAt.set(place.lease, clock.now());
      for (const other of places()) {
        const wire = other === place ? undefined : linkOf(place.report, other.node)?.wire;
        if (wire === undefined || other.node === MASTER_NODE) continue;
        if (wire !== 'down') linked.add(other.lease);
        if (wire !== 'down' && wire !== 'stanza') risen.add(other.lease);
        if (isDoubtful(other)) void look(other);
      }
    },
  };
}

const linkOf = (report: GuestReport | undefined, node: number) =>
  report?.links.find((link) => link.to === node || link.from === node);
