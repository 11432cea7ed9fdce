/** Requests that wait for the owner's word, and what became of the last ones. Whoever answers first wins; all others are told. */
import type { Clock } from '../base/clock.ts';
import { KithError } from '../base/errors.ts';
import { shortId } from '../base/ids.ts';
import type { LeaseQuestion, Verdict } from './policy.ts';

/** Just below the 120 s that an initiator waits (membership.ts): a yes that comes later than that helps nobody. */
const ANSWER_MS = 110_000;

/** More than an owner can read; what comes on top is told to come later. */
const MAX_WAITING = 32;

/** For `kith policy explain`. */
const MAX_DECIDED = 100;

export interface Waiting {
  /** What `kith allow` names. */
  readonly id: string;
  readonly question: LeaseQuestion;
  /** Why the owner is asked. */
  readonly verdict: Verdict;
  /** Milliseconds of the clock on the wall. */
  readonly since: number;
}

export interface Decided extends Omit<Waiting, 'since'> {
  readonly answer: 'yes' | 'no';
  /** `policy`, or who or what ended the wait: `kith allow`, `the terminal`, `nobody answered`, `the requester left`. */
  readonly by: string;
  readonly at: number;
  /** The same request of the same account with the same answer, in a row. */
  readonly times: number;
}

/** Shows a request and may answer it; undefined: no answer from here. The signal aborts when it was settled elsewhere, with the words. */
export type Prompt = (request: Waiting, signal: AbortSignal) => Promise<boolean | undefined>;

export interface Desk {
  readonly waiting: readonly Waiting[];
  /** Newest first. */
  readonly decided: readonly Decided[];
  /** Asks the owner. Throws `job.full` when that account or the desk has no place left. */
  ask(id: string, question: LeaseQuestion, verdict: Verdict): Promise<{ readonly yes: boolean; readonly by: string }>;
  /** Resolves with what came of it in the end: a yes may still meet a full machine. Throws when it does not wait (any more). */
  answer(id: string, yes: boolean, by: string): Promise<Decided>;
  record(entry: Omit<Decided, 'at' | 'times'>): Decided;
  find(id: string): Waiting | Decided | undefined;
  /** Those whose requester is gone wait no longer. */
  withdraw(isGone: (from: string) => boolean): void;
  /** Nobody is asked any more. */
  close(): void;
}

export const newRequestId = shortId;

export function createDesk(options: {
  readonly clock: Clock;
  readonly wallClock: () => Date;
  readonly prompt: Prompt | undefined;
  readonly answerMs?: number;
}): Desk {
  const { clock, wallClock, prompt, answerMs = ANSWER_MS } = options;
  interface Entry extends Waiting {
    readonly settle: (yes: boolean, by: string) => void;
    readonly decided: PromiseWithResolvers<Decided>;
  }
  const waiting = new Map<string, Entry>();
  /** Answered, while the worker still looks whether it fits. */
  const settled = new Map<string, Entry>();
  const decided: Decided[] = [];

  const ask: Desk['ask'] = async (id, question, verdict) => {
    const { account } = question.who;
    if ([...waiting.values()].some((other) => other.question.who.account === account))
      throw full('another request of yours waits for the owner');
    if (waiting.size >= MAX_WAITING) throw full(`${MAX_WAITING} requests wait for the owner already`);
    return new Promise((resolve) => {
      const stop = new AbortController();
      const entry: Entry = {
        id,
        question,
        verdict,
        since: wallClock().getTime(),
        decided: Promise.withResolvers<Decided>(),
        settle(yes, by) {
          if (!waiting.delete(id)) return;
          cancel();
          settled.set(id, entry);
          stop.abort(`${yes ? 'allowed' : 'refused'}: ${by}`);
          resolve({ yes, by });
        },
      };
      const cancel = clock.after(answerMs, () => entry.settle(false, 'nobody answered'));
      waiting.set(id, entry);
      void show(entry, stop.signal);
    });
  };

  const show = async (entry: Entry, settled: AbortSignal) => {
    // A terminal that fails answers nothing; kith allow still can.
    const yes = await prompt?.(entry, settled).catch(() => undefined);
    if (yes !== undefined) entry.settle(yes, 'the terminal');
  };

  const find: Desk['find'] = (id) => waiting.get(id) ?? decided.find((entry) => entry.id === id);

  return {
    get waiting() {
      return [...waiting.values()].map(({ id, question, verdict, since }) => ({ id, question, verdict, since }));
    },
    get decided() {
      return decided;
    },
    ask,
    async answer(id, yes, by) {
      const entry = waiting.get(id);
      if (!entry) throw notWaiting(id, settled.has(id) ? undefined : find(id));
      entry.settle(yes, by);
      return entry.decided.promise;
    },
    record(entry) {
      const at = wallClock().getTime();
      const [last] = decided;
      const again = last !== undefined && entry.by === 'policy' && sameRequest(last, entry);
      // A flood of one request must not push all others out of sight.
      const next: Decided = { ...entry, at, times: again ? last.times + 1 : 1 };
      if (again) decided.shift();
      decided.unshift(next);
      decided.length = Math.min(decided.length, MAX_DECIDED);
      settled.get(entry.id)?.decided.resolve(next);
      settled.delete(entry.id);
      return next;
    },
    find,
    withdraw(isGone) {
      for (const entry of waiting.values()) if (isGone(entry.question.from)) entry.settle(false, 'the requester left');
    },
    close() {
      for (const entry of waiting.values()) entry.settle(false, 'this peer stops');
    },
  };
}

function sameRequest(last: Decided, now: Omit<Decided, 'at' | 'times'>): boolean {
  const facts = ({ answer, by, question, verdict }: Omit<Decided, 'at' | 'times'>) =>
    JSON.stringify([answer, by, { ...question, from: question.who.account }, verdict.reasons]);
  return facts(last) === facts(now);
}

function notWaiting(id: string, found: Waiting | Decided | undefined): KithError {
  if (found && 'by' in found) {
    return new KithError({
      code: 'job.answered',
      message: `request ${id} has its answer already: ${found.answer} (${found.by})`,
      hint: `kith policy explain ${id} says why`,
      retry: 'never',
    });
  }
  return new KithError({
    code: 'job.no-request',
    message: `no request ${id} waits here`,
    hint: 'kith requests shows those that wait',
    retry: 'never',
  });
}

const full = (message: string) => new KithError({ code: 'job.full', message, retry: 'later' });
