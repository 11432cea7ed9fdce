/** The owner's word on a lease request: what may run here at all. Pure; asking a human is injected. */
import { KithError } from '../base/errors.ts';
import type { RequestOf } from '../protocol/messages.ts';

/** `room`: whoever is in the room. `ask`: a human answers. A list: these bare JIDs and nobody else. `none`: nobody. */
export type Accept = 'room' | 'ask' | 'none' | readonly string[];

export interface Limits {
  /** Memory that all guests together may have, MiB. */
  readonly memoryMiB: number;
  /** Virtual processors that one guest may have. */
  readonly cpus: number;
  /** Guests at once. */
  readonly guests: number;
}

export interface LeaseQuestion {
  readonly from: string;
  readonly request: RequestOf<'lease.request'>;
}

export interface Use {
  readonly memoryMiB: number;
  readonly guests: number;
}

/** Throws a KithError with the rule that says no; returns when the answer is yes. A human is asked only what no rule forbids. */
export async function decide(
  question: LeaseQuestion,
  policy: {
    readonly accept: Accept;
    readonly limits: Limits;
    readonly inUse: Use;
    readonly ask: ((question: LeaseQuestion) => Promise<boolean>) | undefined;
  },
): Promise<void> {
  const { accept, ask } = policy;
  const bare = question.from.split('/')[0] ?? question.from;
  if (accept === 'none') throw refused('the owner takes no guests');
  if (Array.isArray(accept) && !accept.includes(bare)) throw refused(`the owner takes no guests from ${bare}`);
  checkLimits(question.request, policy.limits, policy.inUse);
  if (accept === 'ask' && !(await (ask?.(question) ?? false))) throw refused('the owner said no');
}

/** Throws when the guest does not fit beside those that are here. Has to be asked again after each wait: others may have come. */
export function checkLimits(request: RequestOf<'lease.request'>, limits: Limits, inUse: Use): void {
  const free = limits.memoryMiB - inUse.memoryMiB;
  if (inUse.guests + 1 > limits.guests) throw full(`the owner allows ${limits.guests} guests, ${inUse.guests} run`);
  if (request.cpus > limits.cpus)
    throw full(`the owner allows ${limits.cpus} cpus a guest, ${request.cpus} were asked for`);
  if (request.memoryMiB > free) {
    throw full(`not enough memory: ${free} MiB left for guests, ${request.memoryMiB} were asked for`);
  }
}

const refused = (message: string) => new KithError({ code: 'job.refused', message, retry: 'never' });
const full = (message: string) => new KithError({ code: 'job.full', message, retry: 'later' });

/** Memory that guests may have when the owner set no limit: half of what is free now, so that the machine's user feels nothing. */
export function defaultLimits(host: { readonly freeMemoryMiB: number; readonly cpus: number }): Limits {
  return { memoryMiB: Math.floor(host.freeMemoryMiB / 2), cpus: host.cpus, guests: 4 };
}
