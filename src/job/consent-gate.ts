/** Every lease request passes here: judged by the owner's policy, by the owner where the policy says so, and judged again at the end. */
import type { Clock } from '../base/clock.ts';
import { KithError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { RequestOf } from '../protocol/messages.ts';
import { createDesk, newRequestId, type Desk, type Prompt } from './consent.ts';
import { effectiveCaps } from './policy-caps.ts';
import { decide, type LeaseQuestion, type Policy, type Use, type Verdict, type Who } from './policy.ts';

export interface ConsentDeps {
  /** As it is in force now. */
  readonly policy: () => Policy;
  /**
   * Who is behind a full JID, by their device key; undefined while they are not in the room. Never throws; asked again whenever
   * leases are judged anew.
   */
  readonly whoIs: (jid: string) => Who | undefined;
  /** Was this image on this machine before? */
  readonly imageSeen: (hash: string) => Promise<boolean>;
  /** Shows requests to a human in front of this process; `kith allow` can answer them, too. */
  readonly prompt: Prompt | undefined;
  /** The clock on the wall: hours of the day are about it. */
  readonly wallClock: () => Date;
}

export interface Gate {
  readonly desk: Desk;
  /** Calls `grant` when the answer is yes, in the same instant as the last look at what is in use. Throws the refusal otherwise. */
  admit<T>(from: string, request: RequestOf<'lease.request'>, grant: (question: LeaseQuestion) => T): Promise<T>;
  /** Those of the leases, oldest first, that the policy of now would not grant any more. */
  review<T extends Held>(leases: readonly T[]): { readonly lease: T; readonly verdict: Verdict }[];
  /** Whole duration that this lease may have, seconds. */
  totalSeconds(question: LeaseQuestion): number;
}

interface Held {
  readonly question: LeaseQuestion;
  readonly ageSeconds: number;
}

export function createGate(
  deps: ConsentDeps & {
    readonly self: string;
    readonly clock: Clock;
    readonly log: Log;
    readonly inUse: () => Use;
  },
): Gate {
  const { policy, wallClock, log, inUse } = deps;
  const desk = createDesk({ clock: deps.clock, wallClock, prompt: deps.prompt });
  const judge = (question: LeaseQuestion) => decide(question, policy(), wallClock(), inUse());
  const account = (jid: string) => jid.split('/')[0] ?? jid;
  const whoIs = (from: string, before: Who = { account: account(from), trust: 'first-sight' }): Who =>
    from === deps.self ? { account: account(from), trust: 'self' } : (deps.whoIs(from) ?? before);

  return {
    desk,
    async admit(from, request, grant) {
      const { job, jobName, role, memoryMiB, cpus, image, diskMiB = 0, totalSeconds = 0 } = request;
      const seen = await deps.imageSeen(image.hash);
      const question: LeaseQuestion = {
        from,
        who: whoIs(from),
        job: jobName,
        role,
        image: { ...image, seen },
        memoryMiB,
        cpus,
        diskMiB,
        seconds: totalSeconds,
        internet: false, // no guest has a way there, and no request can ask for one
      };
      const id = newRequestId();
      const record = (verdict: Verdict, answer: 'yes' | 'no', by: string) => {
        const { times } = desk.record({ id, question, verdict, answer, by });
        const facts = { request: id, job: jobName, from, by, place: verdict.rule.place };
        if (answer === 'no' && times === 1) log.info('lease refused', { ...facts, reason: verdict.rule.words });
        else log.debug(`lease request: ${answer}`, { ...facts, id: job });
      };

      let by = 'policy';
      const first = judge(question);
      if (first.answer === 'ask') {
        log.info('the owner is asked', { request: id, job: jobName, from });
        const asked = await desk.ask(id, question, first);
        by = asked.by;
        if (!asked.yes) {
          record(first, 'no', by);
          throw saidNo(by);
        }
      }
      const last = judge({ ...question, who: whoIs(from) });
      if (last.answer === 'no') {
        record(last, 'no', 'policy');
        throw refusal(last);
      }
      record(last, 'yes', by);
      return grant(question);
    },
    review(leases) {
      const use = { memoryMiB: 0, guests: 0 };
      return leases.flatMap((lease) => {
        const { from, who } = lease.question;
        const question = { ...lease.question, who: whoIs(from, who), ageSeconds: lease.ageSeconds };
        const verdict = decide(question, policy(), wallClock(), { ...use });
        if (verdict.answer === 'no') return [{ lease, verdict }];
        use.memoryMiB += question.memoryMiB;
        use.guests += 1;
        return [];
      });
    },
    totalSeconds({ who, seconds }) {
      const cap = who.trust === 'self' ? undefined : effectiveCaps(policy()).seconds?.value;
      return Math.min(cap ?? Number.POSITIVE_INFINITY, seconds || Number.POSITIVE_INFINITY);
    },
  };
}

/** What the requester gets to read: the words of the rule, never where it stands. */
function refusal({ rule, reasons }: Verdict): KithError {
  const message = [rule.words, ...reasons.slice(1)].join('; ').slice(0, 1000);
  if (rule.kind === 'who') return new KithError({ code: 'job.refused', message, retry: 'never' });
  return new KithError({ code: 'job.full', message, retry: 'later' });
}

function saidNo(by: string): KithError {
  if (by === 'nobody answered')
    return new KithError({ code: 'job.no-answer', message: 'the owner did not answer in time', retry: 'later' });
  return new KithError({ code: 'job.refused', message: 'the owner said no', retry: 'never' });
}
