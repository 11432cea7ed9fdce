/** Opens one WebRTC data channel to a peer: signals in and out, deadline, and an end that leaves nothing behind. */
import { randomBytes } from 'node:crypto';
import type { DataChannel } from 'wrtc';
import { describeError, KithError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { loadWebrtc, MAX_MESSAGE_BYTES } from './native.ts';
import { negotiate } from './negotiation.ts';
import type { SignalPipe } from './signaling.ts';

export interface RtcOptions {
  /** One end offers, the other answers. */
  readonly offer: boolean;
  readonly pipe: SignalPipe;
  /** Address that sockets are bound to; without it, all of the host's. */
  readonly bindAddress?: string;
  /** Of the packets, as the library counts; without it, one that passes everywhere (1280). */
  readonly mtu?: number;
  /** `stun:host:port`, `turn:user:password@host:port`. None: only this host's own addresses. */
  readonly iceServers?: readonly string[];
  /** From the call to an open channel, waiting for the other end's offer included. */
  readonly timeoutMs?: number;
  readonly log: Log;
  /** Ends the attempt, and later the connection. */
  readonly signal?: AbortSignal;
}

/** An open, reliable, ordered channel. */
export interface RtcChannel extends AsyncDisposable {
  /** Largest message, as agreed in the descriptions. */
  readonly maxMessage: number;
  /** False: not taken, the channel is closed. The bytes are copied. */
  send(message: Uint8Array): boolean;
  /** Bytes that are not yet with SCTP, which holds up to 1 MiB more. */
  buffered(): number;
  /** Resolves with the reason. Never rejects. */
  readonly closed: Promise<string>;
}

export interface RtcHandlers {
  /** Binary messages, from the first on; may be called before connectRtc has returned. Text is refused. */
  readonly onMessage: (message: Uint8Array) => void;
  readonly lowBytes?: number;
  /** `buffered` has fallen to `lowBytes`. */
  readonly onLow?: () => void;
}

/** An answer without servers leaves after this long even if the library has not said that it knows all addresses. */
const GATHER_MS = 1000;

const DEFAULT_TIMEOUT_MS = 20_000;

/** Loopback carries 64 KiB, libdatachannel's buffers 4096 bytes: larger SCTP packets double the throughput (measured: 0.9 to 1.8 Gbit/s). */
const LOOPBACK_MTU = 4000;

export async function connectRtc(options: RtcOptions, handlers: RtcHandlers): Promise<RtcChannel> {
  const { offer, pipe, bindAddress, iceServers = [], timeoutMs = DEFAULT_TIMEOUT_MS, log, signal } = options;
  const mtu = options.mtu ?? (bindAddress?.startsWith('127.') ? LOOPBACK_MTU : undefined);
  const closed = Promise.withResolvers<string>();
  const opened = Promise.withResolvers<void>();
  opened.promise.catch(() => {}); // it may fail before anybody waits for it
  let channel: DataChannel | undefined;
  let failure: unknown;

  const [{ default: SimplePeer }, wrtc] = await loading(pipe, [
    import('simple-peer'),
    loadWebrtc({
      iceServers,
      ...(bindAddress === undefined ? {} : { bindAddress }),
      ...(mtu === undefined ? {} : { mtu }),
      onChannel(found) {
        channel = found;
        listen(found, handlers, (reason) => end(new Error(reason)));
      },
    }),
  ]);

  const peer = new SimplePeer({
    initiator: offer,
    wrtc,
    // Without servers all candidates are known at once and travel inside the answer. The offer has none: see negotiation.ts.
    trickle: offer || iceServers.length > 0,
    iceCompleteTimeout: GATHER_MS,
    channelName: randomBytes(8).toString('hex'),
    objectMode: true,
  });

  /** The first reason wins: of a failed attempt, or of the end of an open channel. */
  function end(reason: unknown): void {
    failure ??= reason;
    opened.reject(failure);
    peer.destroy();
  }

  const deadline = setTimeout(() => end(timedOut(timeoutMs)), timeoutMs);
  const onAbort = () => end(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();

  const stopNegotiating = negotiate({ peer, offer, pipe, log, fail: (cause) => end(signalFailed(cause)), refuse: end });
  const stopSuperseded = pipe.onSuperseded?.(() => end(new Error('the peer began a new attempt')));
  peer.on('connect', () => opened.resolve());
  peer.on('error', end);
  peer.on('close', () => {
    stopNegotiating();
    stopSuperseded?.();
    pipe[Symbol.dispose]?.();
    clearTimeout(deadline);
    // simple-peer leaves this timer running.
    clearTimeout((peer as unknown as { _iceCompleteTimer?: NodeJS.Timeout })._iceCompleteTimer);
    signal?.removeEventListener('abort', onAbort);
    opened.reject(failure ?? new Error('closed by the peer'));
    closed.resolve(describeError(failure ?? 'closed by the peer'));
  });

  const dispose = async () => {
    end(new Error('closed by us'));
    await closed.promise;
  };
  try {
    await opened.promise;
    clearTimeout(deadline);
    if (!channel) throw new Error('there is no data channel');
    return openChannel(channel, closed.promise, dispose);
  } catch (cause) {
    await dispose();
    throw asDialError(cause, signal);
  }
}

/** Machines without a prebuilt library exist; whatever fails before there is a connection gives the pipe back here. */
async function loading<A, B>(pipe: SignalPipe, parts: readonly [Promise<A>, Promise<B>]): Promise<[A, B]> {
  try {
    return await Promise.all(parts);
  } catch (cause) {
    pipe[Symbol.dispose]?.();
    throw new KithError({
      code: 'wire.no-webrtc',
      message: `the WebRTC library cannot be loaded: ${describeError(cause)}`,
      hint: 'run npm install again on this machine, or allow the stanza wire',
      cause,
    });
  }
}

function listen(
  channel: DataChannel,
  { onMessage, lowBytes = 0, onLow }: RtcHandlers,
  fail: (reason: string) => void,
): void {
  channel.onError((reason) => fail(`data channel error: ${reason}`));
  channel.setBufferedAmountLowThreshold(lowBytes);
  if (onLow) channel.onBufferedAmountLow(onLow);
  channel.onMessage((message) => {
    if (typeof message === 'string') return;
    try {
      onMessage(message instanceof Uint8Array ? message : new Uint8Array(message));
    } catch (error) {
      // An exception in a native callback would end the process.
      fail(`a message could not be handled: ${describeError(error)}`);
    }
  });
}

function openChannel(channel: DataChannel, closed: Promise<string>, dispose: () => Promise<void>): RtcChannel {
  return {
    maxMessage: Math.min(channel.maxMessageSize(), MAX_MESSAGE_BYTES),
    send(message) {
      try {
        if (!channel.isOpen()) return false;
        // Its return value says whether the message left at once, not whether it was taken.
        channel.sendMessageBinary(message);
        return true;
      } catch {
        return false;
      }
    },
    buffered: () => {
      try {
        return channel.bufferedAmount();
      } catch {
        return 0;
      }
    },
    closed,
    [Symbol.asyncDispose]: dispose,
  };
}

function timedOut(ms: number): KithError {
  return new KithError({
    code: 'wire.dial-timeout',
    message: `no data channel within ${ms / 1000} s`,
    hint: 'if neither peer can reach the other, configure a TURN server or allow the stanza wire',
    retry: 'later',
  });
}

function signalFailed(cause: unknown): KithError {
  return new KithError({
    code: 'wire.signal-failed',
    message: `a signal did not reach the peer: ${describeError(cause)}`,
    retry: 'later',
    cause,
  });
}

function asDialError(cause: unknown, signal: AbortSignal | undefined): unknown {
  if (cause instanceof KithError || signal?.aborted) return cause;
  return new KithError({
    code: 'wire.dial-failed',
    message: `no data channel: ${describeError(cause)}`,
    retry: 'later',
    cause,
  });
}
