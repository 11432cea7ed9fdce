/** One account's presence on one server: logged in, kept alive, resumed or renewed after cuts, until disposed or given up. */
import { systemClock, type Clock } from '../base/clock.ts';
import { describeError, KithError } from '../base/errors.ts';
import { shortId } from '../base/ids.ts';
import { silentLog, type Log } from '../base/log.ts';
import { establish, type Established } from './establish.ts';
import { createInbox, type StanzaHandler } from './inbox.ts';
import { createOutbox } from './outbox.ts';
import type { Priority } from './pacer.ts';
import { createRequests, type RequestOptions } from './requests.ts';
import { openStream, type Stream } from './stream.ts';
import { SM_NS, xml, type Element } from './xml.ts';

export interface SessionOptions {
  readonly host: string;
  readonly port: number;
  readonly domain: string;
  readonly username: string;
  readonly password: string;
  /** The only certificate to accept. Absent: one that an authority of this machine vouches for, for this domain. */
  readonly fingerprint?: string | undefined;
  /** The server's limit; we stay below it, and slow down if it turns out to be lower. */
  readonly bytesPerSecond: number;
  /** Where the limit is a guess: as long as receipts come quickly the pace may rise to this. Without it, never above the limit. */
  readonly maxBytesPerSecond?: number;
  /** Default: new for each process, so that two processes never fight for one. */
  readonly resource?: string;
  readonly log?: Log;
  readonly clock?: Clock;
  /** Ends the opening; an open session ends by disposal alone, so that what is open can say goodbye through it. */
  readonly signal?: AbortSignal;
  /** A server that stays away longer ends the session. Default 120 s. */
  readonly giveUpMs?: number;
  /** Between 0 and 1; spreads the attempts of many peers after a restart of their server. */
  readonly random?: () => number;
}

export type SessionState = 'online' | 'reconnecting' | 'closed';

export interface SessionCounters {
  readonly resumed: number;
  readonly fresh: number;
  readonly repeats: number;
  readonly frameDrops: number;
  /** Stanzas sent and not confirmed by the server yet. */
  readonly unconfirmed: number;
}

export interface Session extends AsyncDisposable {
  /** Full JID, the same for the whole life of the session. */
  readonly jid: string;
  readonly state: SessionState;
  /** What we believe the server bears now. */
  readonly bytesPerSecond: number;
  /** Never waits. False: refused (too large, queue full, over). Control survives cuts and arrives at least once; frames do not. */
  send(stanza: Element, options: { readonly priority: Priority }): boolean;
  /** Resolves with the result stanza. Rejects with the error condition (`xmpp.item-not-found`), `xmpp.timeout`, `xmpp.queue-full`. */
  request(to: string | undefined, type: 'get' | 'set', child: Element, options?: RequestOptions): Promise<Element>;
  /** Messages, presences and questions of others, repeats already dropped. */
  onStanza(handler: StanzaHandler): () => void;
  /** After each later session that could not be resumed: rooms must be joined anew. */
  onFresh(handler: () => void): () => void;
  /** The connection broke; a new one is being tried. */
  onLost(handler: () => void): () => void;
  /** Online again, resumed or fresh. */
  onOnline(handler: () => void): () => void;
  /** True when a frame stanza sent now would go out at once. */
  readonly framesReady: boolean;
  /** Asks the puller for one frame stanza whenever one may go; it returns true if it sent one. */
  onFramesReady(puller: () => boolean): () => void;
  counters(): SessionCounters;
  /** Resolves with the error that ended the session, or undefined after disposal. */
  readonly closed: Promise<KithError | undefined>;
}

/** From the first byte to a usable session. A mute server must not hold an attempt for ever. */
const ATTEMPT_MS = 20_000;
const GIVE_UP_MS = 120_000;
const BACKOFF_MS = { first: 500, most: 30_000 };
/** A session that lasted this long was a good one: the next outage starts with a short pause again. */
const STABLE_MS = 30_000;
/** Disposal waits this long for the last control stanzas (leaving rooms) to be written. */
const FLUSH_MS = 2000;

export async function openSession(options: SessionOptions): Promise<Session> {
  const { clock = systemClock, log = silentLog, giveUpMs = GIVE_UP_MS, random = Math.random, bytesPerSecond } = options;
  const resource = options.resource ?? `kith-${shortId()}${shortId()}`;
  const life = new AbortController();
  const closed = Promise.withResolvers<KithError | undefined>();
  const events = { fresh: new Set<() => void>(), lost: new Set<() => void>(), online: new Set<() => void>() };
  const counts = { resumed: 0, fresh: 0 };
  let state: SessionState = 'reconnecting';
  let leaving = false;
  let jid = '';
  let resumeId: string | undefined;
  let stream: Stream | undefined;

  const fail = (code: string, message: string) => stream?.destroy(new KithError({ code, message, retry: 'later' }));
  const outbox = createOutbox({
    bytesPerSecond,
    maxBytesPerSecond: options.maxBytesPerSecond,
    clock,
    onMute: () => fail('xmpp.mute', 'the server does not answer any more'),
    onNonsense: () => {
      resumeId = undefined;
      fail('xmpp.protocol', 'the server confirmed messages that were never sent');
    },
  });
  const send: Session['send'] = (stanza, { priority }) => state !== 'closed' && outbox.push(stanza, priority);
  const requests = createRequests({ self: () => jid, clock, send: (stanza) => send(stanza, { priority: 'control' }) });
  const inbox = createInbox({
    log,
    settle: (stanza) => requests.settle(stanza),
    reply: (stanza) => void send(stanza, { priority: 'control' }),
  });

  const fire = (handlers: Set<() => void>) => {
    for (const handler of handlers) {
      try {
        handler();
      } catch (error) {
        log.warn('session handler failed', { reason: describeError(error) });
      }
    }
  };

  /** One attempt: connected, authenticated, resumed or fresh, or an error and nothing left. */
  async function connect(): Promise<Stream> {
    const attempt = new AbortController();
    const late = new KithError({
      code: 'xmpp.unreachable',
      message: `the server at ${options.host}:${options.port} accepts connections but does not answer`,
      hint: 'check that it is an XMPP server with direct TLS on this port, or wait until it is less busy',
      retry: 'later',
    });
    const cancel = clock.after(ATTEMPT_MS, () => attempt.abort(late));
    const signal = AbortSignal.any([life.signal, attempt.signal]);
    let live: Stream | undefined;
    try {
      live = await openStream({ ...options, signal });
      const resumption = resumeId === undefined ? undefined : { id: resumeId, inbound: outbox.inbound };
      const result = await establish(live, { ...options, resource, resumption });
      adopt(live, result);
      return live;
    } catch (error) {
      live?.destroy(error as Error);
      throw error;
    } finally {
      cancel();
    }
  }

  function adopt(live: Stream, result: Established): void {
    if (result.kind === 'resumed') {
      if (!outbox.resume(live, result.h)) {
        resumeId = undefined;
        throw new KithError({
          code: 'xmpp.protocol',
          message: 'the server confirmed messages that were never sent',
          retry: 'later',
        });
      }
      counts.resumed++;
    } else {
      if (jid !== '' && result.jid !== jid) {
        throw new KithError({
          code: 'xmpp.jid-changed',
          message: `the server made us ${result.jid} instead of ${jid}`,
          hint: 'start again',
        });
      }
      jid = result.jid;
      resumeId = result.resumeId;
      // Presence and room talk belong to a session that is gone; sent again they would join rooms half.
      const again = outbox
        .restart(result.h)
        .filter((stanza) => stanza.name !== 'presence' && stanza.attrs['type'] !== 'groupchat');
      // Negative priority: mail for the account as a whole (RFC 6121 8.5.2) is not for us.
      outbox.push(xml('presence', {}, xml('priority', {}, '-1')), 'control');
      if (counts.fresh++ > 0) fire(events.fresh);
      for (const stanza of again) outbox.push(stanza, 'control');
    }
    stream = live;
    state = 'online';
    log.info(result.kind === 'resumed' ? 'session resumed' : 'session opened', { jid });
    outbox.attach(live);
    for (const stanza of result.kind === 'fresh' ? result.early : []) inbox.deliver(stanza);
    live.consume((element) => {
      if (element.getNS() === SM_NS) return outbox.nonza(element, live);
      if (!['iq', 'message', 'presence'].includes(element.name)) return;
      outbox.received();
      inbox.deliver(element);
    });
    fire(events.online);
  }

  const isFatal = (error: unknown) => !(error instanceof KithError) || error.retry !== 'later';

  /** Waits for the end of each stream and opens the next one, until disposed or hopeless. */
  async function keep(first: Stream): Promise<KithError | undefined> {
    let live = first;
    let failures = 0;
    for (;;) {
      const since = clock.now();
      const reason = await live.closed;
      stream = undefined;
      outbox.detach();
      if (leaving) return undefined;
      const lostAt = clock.now();
      if (isFatal(reason)) return asKith(reason);
      if (lostAt - since > STABLE_MS) failures = 0;
      state = 'reconnecting';
      log.warn('session lost', { jid, reason: reason.message });
      fire(events.lost);
      for (;;) {
        await pause(Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** Math.min(failures++, 6)) * (0.5 + random()));
        if (leaving) return undefined;
        try {
          live = await connect();
          break;
        } catch (error) {
          if (leaving) return undefined;
          log.debug('reconnecting failed', { jid, reason: describeError(error) });
          if (isFatal(error)) return asKith(error);
          if (clock.now() - lostAt >= giveUpMs) return gone(error);
        }
      }
    }
  }

  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      const done = () => {
        cancel();
        life.signal.removeEventListener('abort', done);
        resolve();
      };
      const cancel = clock.after(ms, done);
      life.signal.addEventListener('abort', done);
    });

  const gone = (cause: unknown) =>
    new KithError({
      code: 'xmpp.unreachable',
      message: `the server at ${options.host}:${options.port} was gone for more than ${giveUpMs / 1000} s (${describeError(cause)})`,
      hint: 'start again when it is back',
      cause,
    });

  const abort = () => life.abort(options.signal?.reason);
  options.signal?.throwIfAborted();
  options.signal?.addEventListener('abort', abort);
  const first = await connect().finally(() => options.signal?.removeEventListener('abort', abort));
  const finish = (error: KithError | undefined) => {
    state = 'closed';
    requests.failAll(
      error ?? new KithError({ code: 'xmpp.session-closed', message: 'the session is over', retry: 'never' }),
    );
    if (error) log.error('session given up', { jid, code: error.code, reason: error.message });
    closed.resolve(error);
  };
  const kept = keep(first).then(finish, (error: unknown) => finish(asKith(error)));

  return {
    get jid() {
      return jid;
    },
    get state() {
      return state;
    },
    get bytesPerSecond() {
      return outbox.bytesPerSecond;
    },
    send,
    request: (to, type, child, how) =>
      state === 'closed' ? Promise.reject(isOver()) : requests.ask(to, type, child, how),
    onStanza: (handler) => inbox.onStanza(handler),
    onFresh: (handler) => subscribe(events.fresh, handler),
    onLost: (handler) => subscribe(events.lost, handler),
    onOnline: (handler) => subscribe(events.online, handler),
    get framesReady() {
      return outbox.framesReady;
    },
    onFramesReady: (puller) => outbox.onFramesReady(puller),
    counters: () => ({ ...counts, repeats: inbox.repeats, frameDrops: outbox.drops, unconfirmed: outbox.unconfirmed }),
    closed: closed.promise,
    async [Symbol.asyncDispose]() {
      leaving = true;
      const live = stream;
      if (live && state === 'online') {
        await Promise.race([outbox.drained(), live.closed, pause(FLUSH_MS)]);
        outbox.acknowledge(live);
        await live.close();
      }
      life.abort(isOver());
      await kept;
    },
  };
}

const isOver = () => new KithError({ code: 'xmpp.session-closed', message: 'the session is over', retry: 'never' });

function subscribe(handlers: Set<() => void>, handler: () => void): () => void {
  handlers.add(handler);
  return () => handlers.delete(handler);
}

function asKith(error: unknown): KithError {
  if (error instanceof KithError) return error;
  return new KithError({
    code: 'xmpp.internal',
    message: `the session failed: ${describeError(error)}`,
    retry: 'later',
    cause: error,
  });
}
