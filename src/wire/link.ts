/** Keeps one link of the plan alive: the best wire that opens, and another one when it dies. */
import type { Clock } from '../base/clock.ts';
import { describeError, errorCode } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Wire } from '../net/wire.ts';

export type LinkRung = 'webrtc' | 'stanza';

export interface LinkState {
  readonly wire: LinkRung | 'down';
  readonly reason?: string;
}

export interface LinkOptions {
  /** Best first. */
  readonly rungs: readonly LinkRung[];
  readonly open: Readonly<Record<LinkRung, (signal: AbortSignal) => Promise<Wire>>>;
  /** Plugs the wire into the switch; the returned function unplugs it. */
  readonly attach: (wire: Wire) => () => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly onState: (state: LinkState) => void;
  readonly signal?: AbortSignal;
  /** 0 to 1, for the jitter. */
  readonly random?: () => number;
}

const FIRST_BACKOFF_MS = 200;
const MAX_BACKOFF_MS = 10_000;
/** A wire that lived this long was a success: after it, the next attempts start quickly again. */
const STABLE_MS = 10_000;

/** Runs until disposed or aborted. Both ends run it; which of them offers is the openers' business. */
export function keepLink(options: LinkOptions): AsyncDisposable {
  const { clock, log, onState, random = Math.random } = options;
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;

  const running = (async () => {
    let backoff = FIRST_BACKOFF_MS;
    let reason = '';
    while (!signal.aborted) {
      const opened = await openBest(options, signal);
      if (opened.wire) {
        const since = clock.now();
        reason = await carry(opened.wire, opened.rung);
        if (clock.now() - since >= STABLE_MS) backoff = FIRST_BACKOFF_MS;
      } else {
        reason = opened.reason;
      }
      if (signal.aborted) break;
      onState({ wire: 'down', reason });
      // Half to one and a half of the step: two ends that failed together do not stay in step.
      await pause(clock, backoff * (0.5 + random()), signal);
      backoff = Math.min(backoff * 2, MAX_BACKOFF_MS);
    }
    onState({ wire: 'down', reason: 'closed by us' });
  })();

  async function carry(wire: Wire, rung: LinkRung): Promise<string> {
    await using _ = wire;
    if (signal.aborted) return 'closed by us';
    const detach = options.attach(wire);
    onState({ wire: rung });
    log.info('link up', { wire: rung });
    const reason = await orAborted(wire.closed, signal);
    detach();
    log.info('link down', { wire: rung, reason });
    return reason;
  }

  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

type Opened = { readonly wire: Wire; readonly rung: LinkRung } | { readonly wire?: never; readonly reason: string };

async function openBest({ rungs, open, log }: LinkOptions, signal: AbortSignal): Promise<Opened> {
  const reasons: string[] = [];
  for (const rung of rungs) {
    try {
      return { wire: await open[rung](signal), rung };
    } catch (error) {
      if (signal.aborted) break;
      reasons.push(`${rung}: ${describeError(error)}`);
      log.debug('wire not opened', { wire: rung, code: errorCode(error), reason: describeError(error) });
    }
  }
  return { reason: reasons.join('; ') || 'no wire allowed' };
}

/** The promise, or the abort, whichever is first; leaves no listener behind on a signal that lives long. */
async function orAborted(promise: Promise<string>, signal: AbortSignal): Promise<string> {
  const stopped = Promise.withResolvers<string>();
  const onAbort = () => stopped.resolve('closed by us');
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([promise, stopped.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const cancel = clock.after(ms, () => resolve('later'));
  await orAborted(promise, signal);
  cancel();
}
