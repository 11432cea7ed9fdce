/** One rung of a ladder: tries to open a wire there, waits longer after each failure, and knows why there is none. */
import type { Clock } from '../base/clock.ts';
import { describeError, errorCode } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

/**
 * Pauses of the end that offers, after the first, second, … failure in a row; then the last one for ever. The answering end only
 * listens, which costs nothing, so it is there again at once: the pace is the offering end's.
 */
const BACKOFF_MS = { offer: [1000, 2000, 5000, 15_000, 60_000], answer: [200] } as const;

/** What lived this long was a success. What died sooner counts as a failure, so that a flapping wire does not make a flapping link. */
const STABLE_MS = 10_000;

export interface Climb {
  /** Try from now on, or stop trying. */
  want(wanted: boolean): void;
  /** Do not wait any longer. */
  retry(): void;
  /** What was opened has gone. */
  lost(reason: string, livedMs: number): void;
  /** Why there is no wire; undefined while there is one. */
  why(): string | undefined;
  /** No attempt is under way any more. */
  end(): Promise<void>;
}

export function createClimb<W extends AsyncDisposable>(options: {
  readonly rung: string;
  readonly offer: boolean;
  readonly open: (signal: AbortSignal) => Promise<W>;
  /** A wire is there; `lost` is due when it has gone. */
  readonly onOpen: (wire: W) => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
}): Climb {
  const { rung, offer, clock, random, log } = options;
  const steps = BACKOFF_MS[offer ? 'offer' : 'answer'];
  let wanted = false;
  let ended = false;
  let failures = 0;
  let failure: { readonly reason: string; readonly at: number } | undefined;
  let attempt: AbortController | undefined;
  let isOpen = false;
  let wait: { readonly until: number; readonly cancel: () => void } | undefined;
  const running = new Set<Promise<void>>();

  const look = () => {
    if (!wanted || ended) {
      attempt?.abort(new Error('no longer wanted'));
      attempt = undefined;
      stopWaiting();
    } else if (!attempt && !wait && !isOpen) {
      const task = tryOnce(new AbortController()).finally(() => running.delete(task));
      running.add(task);
    }
  };

  const stopWaiting = () => {
    wait?.cancel();
    wait = undefined;
  };

  const failed = (reason: string) => {
    failure = { reason, at: clock.now() };
    // Half to one and a half of the step, so that links that fell together do not stay in step.
    const ms = steps[Math.min(failures++, steps.length - 1)]! * (0.5 + random());
    const cancel = clock.after(ms, () => {
      wait = undefined;
      look();
    });
    wait = { until: clock.now() + ms, cancel };
  };

  async function tryOnce(mine: AbortController): Promise<void> {
    attempt = mine;
    try {
      const wire = await options.open(mine.signal);
      if (mine.signal.aborted) {
        await wire[Symbol.asyncDispose]();
        return;
      }
      attempt = undefined;
      isOpen = true;
      options.onOpen(wire);
    } catch (error) {
      if (mine.signal.aborted) return;
      attempt = undefined;
      log.debug('wire not opened', { wire: rung, code: errorCode(error), reason: describeError(error) });
      failed(describeError(error));
      look();
    }
  }

  return {
    want(next) {
      if (wanted === next) return;
      wanted = next;
      look();
    },
    retry() {
      if (!wait) return;
      stopWaiting();
      look();
    },
    lost(reason, livedMs) {
      isOpen = false;
      if (livedMs >= STABLE_MS) failures = 0;
      if (livedMs < STABLE_MS) failed(reason);
      else failure = { reason, at: clock.now() };
      look();
    },
    why() {
      if (isOpen) return undefined;
      const now = clock.now();
      const last = failure ? `${failure.reason} (${seconds(now - failure.at)} ago)` : undefined;
      if (wait) return `${last ?? 'failed'}; next try in ${seconds(wait.until - now)}`;
      const state = attempt ? (offer ? 'being tried' : 'waits for the other end to offer') : 'not tried now';
      return last === undefined ? state : `${state}; before: ${last}`;
    },
    async end() {
      ended = true;
      look();
      await Promise.all(running);
    },
  };
}

const seconds = (ms: number) => `${Math.max(0, Math.round(ms / 1000))} s`;
