/** A wire over TLS 1.3 and TCP, straight from peer to peer: both ends listen, both dial what the other one names. */
import { randomBytes } from 'node:crypto';
import { orAborted } from '../base/abort.ts';
import { describeError, KithError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { BatchHandler, Wire } from '../net/wire.ts';
import type { DirectListener } from './direct-listener.ts';
import { startRace, type Race } from './direct-race.ts';
import {
  parseDirectSignal,
  prefacesOf,
  type DirectAnswer,
  type DirectOffer,
  type DirectSignal,
} from './direct-signal.ts';
import { openStream } from './direct-stream.ts';
import type { SignalPipe } from './signaling.ts';

export interface DirectOptions {
  readonly listener: DirectListener;
  /** One end offers, the other answers. */
  readonly offer: boolean;
  readonly pipe: SignalPipe;
  /** Number of the LAN: both ends must mean the same one. */
  readonly lan: number;
  readonly onBatch: BatchHandler;
  /** From the call to an open wire, waiting for the other end's offer included. */
  readonly timeoutMs?: number;
  readonly log: Log;
  /** Ends the attempt, and later the wire. */
  readonly signal?: AbortSignal;
}

/** Eight addresses, staggered, and a server that takes its time with two signals. */
const DEFAULT_TIMEOUT_MS = 10_000;

/** Errors: `wire.dial-timeout` (no signal came), `wire.dial-failed`, `wire.signal-failed`. */
export async function openDirect(options: DirectOptions): Promise<Wire> {
  const { listener, offer, pipe, lan, onBatch, timeoutMs = DEFAULT_TIMEOUT_MS, log, signal } = options;
  /** Of the attempt, and later of the wire. */
  const end = new AbortController();
  const watching = watch(end, { pipe, signal });
  const deadline = setTimeout(() => end.abort(new TimeIsUp()), timeoutMs);
  const attempt = listener.attempt();
  const own = {
    lan,
    fingerprint: listener.fingerprint,
    nonce: randomBytes(16).toString('base64url'),
    candidates: listener.endpoints(),
  };
  const mine: DirectOffer = { type: 'direct-offer', ...own };
  let race: Race | undefined;
  try {
    const coming = peerSignal({ pipe, lan, log, offered: offer ? mine : undefined });
    if (offer) await orAborted(deliver(pipe, mine), end.signal);
    const theirs = await orAborted(coming, end.signal);
    const [offered, answer]: [DirectOffer, DirectAnswer] =
      theirs.type === 'direct-answer'
        ? [mine, theirs]
        : [theirs, { type: 'direct-answer', ...own, answers: theirs.fingerprint }];
    const prefaces = prefacesOf(offered, answer, lan);
    race = startRace({ listener, attempt, offer, fingerprint: theirs.fingerprint, prefaces });
    // Whom we dial has to expect us already.
    if (!offer) await orAborted(deliver(pipe, answer), end.signal);
    race.dial(listener.dialOrder(theirs.candidates));
    const socket = await orAborted(race.won, end.signal);
    const wire = openStream({ socket, onBatch });
    log.debug('direct wire open', { address: `${socket.remoteAddress}:${socket.remotePort}` });
    end.signal.addEventListener('abort', () => void wire.close(describeError(end.signal.reason)), { once: true });
    void wire.closed.then(() => watching[Symbol.dispose]());
    return wire;
  } catch (cause) {
    watching[Symbol.dispose]();
    // It may have been chosen while our answer was under way: nobody takes it any more.
    void race?.won.then((socket) => socket.destroy());
    throw asDialError(cause, { signal, timeoutMs, race });
  } finally {
    clearTimeout(deadline);
    race?.[Symbol.dispose]();
    attempt[Symbol.dispose]();
  }
}

/** What ends an attempt or a wire from outside, for as long as there is one. */
function watch(
  end: AbortController,
  { pipe, signal }: { readonly pipe: SignalPipe; readonly signal: AbortSignal | undefined },
): Disposable {
  const onAbort = () => end.abort(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();
  const unwatch = pipe.onSuperseded?.(() => end.abort(new Error('the peer began a new attempt')));
  return {
    [Symbol.dispose]() {
      signal?.removeEventListener('abort', onAbort);
      unwatch?.();
      pipe[Symbol.dispose]?.();
    },
  };
}

/** The one signal of the other end that counts. Rejects if it cannot be meant for this attempt. */
function peerSignal(options: {
  readonly pipe: SignalPipe;
  readonly lan: number;
  readonly log: Log;
  /** What we offered; undefined at the answering end. */
  readonly offered: DirectOffer | undefined;
}): Promise<DirectSignal> {
  const { pipe, lan, log, offered } = options;
  const { promise, resolve, reject } = Promise.withResolvers<DirectSignal>();
  const stop = pipe.onData((data) => {
    try {
      const signal = parseDirectSignal(data);
      if (signal.type !== (offered ? 'direct-answer' : 'direct-offer')) return;
      if (signal.lan !== lan) reject(new Error(`the peer means LAN ${signal.lan}, this link is of LAN ${lan}`));
      if (offered && signal.type === 'direct-answer' && signal.answers !== offered.fingerprint) {
        reject(new Error('the answer is to another offer than ours'));
      }
      resolve(signal);
    } catch (error) {
      log.debug('signal refused', { reason: describeError(error) });
    }
  });
  const first = promise.finally(() => stop());
  first.catch(() => {}); // it may fail before anybody waits for it
  return first;
}

async function deliver(pipe: SignalPipe, signal: DirectSignal): Promise<void> {
  try {
    await pipe.send(signal);
  } catch (cause) {
    throw new KithError({
      code: 'wire.signal-failed',
      message: `a signal did not reach the peer: ${describeError(cause)}`,
      retry: 'later',
      cause,
    });
  }
}

class TimeIsUp extends Error {}

function asDialError(
  cause: unknown,
  facts: { readonly signal: AbortSignal | undefined; readonly timeoutMs: number; readonly race: Race | undefined },
): unknown {
  const { signal, timeoutMs, race } = facts;
  if (cause instanceof KithError || signal?.aborted) return cause;
  if (!(cause instanceof TimeIsUp)) {
    return new KithError({
      code: 'wire.dial-failed',
      message: `no direct connection: ${describeError(cause)}`,
      retry: 'later',
      cause,
    });
  }
  if (!race) {
    return new KithError({
      code: 'wire.dial-timeout',
      message: `the peer sent no addresses within ${timeoutMs / 1000} s`,
      retry: 'later',
    });
  }
  return new KithError({
    code: 'wire.dial-failed',
    message: `no address of the peer could be reached: ${race.outcome() || 'it named none'}; and it reached none of ours`,
    hint: 'let the router of one of you pass a port on, and set wirePort and announce in the configuration there',
    retry: 'later',
  });
}
