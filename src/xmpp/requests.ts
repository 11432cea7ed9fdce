/** Our own request and reply: random ids, the sender of a reply checked, a deadline for each (defects 1 and 11 of the library). */
import type { Clock } from '../base/clock.ts';
import { KithError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { bareJid, domainOf, stanzaError, xml, type Element } from './xml.ts';

export interface RequestOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

interface Pending {
  readonly to: string | undefined;
  settle(outcome: Element | Error): void;
}

const DEFAULT_TIMEOUT_MS = 20_000;
/** More at once is a runaway caller. */
const MAX_PENDING = 1000;

export function createRequests(options: {
  readonly self: () => string;
  readonly send: (stanza: Element) => boolean;
  readonly clock: Clock;
}) {
  const { self, send, clock } = options;
  const pending = new Map<string, Pending>();

  /** Without `to` the question is for our own server, which may answer as itself or as our account (RFC 6120 8.1.2.1). */
  const mayAnswer = (from: string | undefined, to: string | undefined): boolean => {
    if (to !== undefined) return from === to;
    return from === undefined || [domainOf(self()), bareJid(self()), self()].includes(from);
  };

  return {
    get size() {
      return pending.size;
    },
    ask(
      to: string | undefined,
      type: 'get' | 'set',
      child: Element,
      { timeoutMs = DEFAULT_TIMEOUT_MS, signal }: RequestOptions = {},
    ): Promise<Element> {
      const id = newId();
      const { promise, resolve, reject } = Promise.withResolvers<Element>();
      if (signal?.aborted) return Promise.reject(signal.reason as Error);
      const cancel = clock.after(timeoutMs, () =>
        settle(
          new KithError({
            code: 'xmpp.timeout',
            message: `${to ?? 'the server'} did not answer within ${timeoutMs / 1000} s`,
            retry: 'later',
          }),
        ),
      );
      const abort = () => settle(signal?.reason as Error);
      const settle = (outcome: Element | Error) => {
        pending.delete(id);
        cancel();
        signal?.removeEventListener('abort', abort);
        if (outcome instanceof Error) reject(outcome);
        else resolve(outcome);
      };
      signal?.addEventListener('abort', abort);
      pending.set(id, { to, settle });
      const stanza = xml('iq', { type, id, ...(to === undefined ? {} : { to }) }, child);
      if (pending.size > MAX_PENDING || !send(stanza)) {
        settle(
          new KithError({
            code: 'xmpp.queue-full',
            message: `the message to ${to ?? 'the server'} was not sent: too much waits already or it is too large`,
            retry: 'later',
          }),
        );
      }
      return promise;
    },
    /** True if the stanza was the answer to a question of ours. Forged, late and repeated answers are nobody's. */
    settle(stanza: Element): boolean {
      const entry = pending.get(stanza.attrs['id'] as string);
      if (!entry || !mayAnswer(stanza.attrs['from'] as string | undefined, entry.to)) return false;
      entry.settle(stanza.attrs['type'] === 'result' ? stanza : new Refused(stanza, entry.to));
      return true;
    },
    failAll(reason: Error): void {
      for (const entry of pending.values()) entry.settle(reason);
    },
  };
}

/** An answer of type `error`; `stanza` holds what came with it. */
export class Refused extends KithError {
  readonly stanza: Element;
  constructor(stanza: Element, to: string | undefined) {
    const error = stanzaError(stanza, `${to ?? 'the server'} refused`);
    super({ code: error.code, message: error.message, retry: error.retry, hint: error.hint });
    this.stanza = stanza;
  }
}
