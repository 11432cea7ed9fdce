/** Request and reply between peers: typed messages as ASCII JSON in IQs to full JIDs, each run once, each answered or refused. */
import { orAborted } from '../base/abort.ts';
import { describeError, errorCode, KithError } from '../base/errors.ts';
import { silentLog, type Log } from '../base/log.ts';
import { parseJson } from '../base/validate.ts';
import { MAX_MESSAGE_BYTES, REQUEST_TIMEOUT_MS } from '../protocol/limits.ts';
import {
  parseRefusal,
  parseReply,
  parseRequest,
  type Refusal,
  type Replies,
  type Request,
  type RequestKind,
  type RequestOf,
} from '../protocol/messages.ts';
import { KITH_NS } from '../protocol/namespaces.ts';
import { ReplayCache } from './replay.ts';
import { Refused, type RequestOptions } from './requests.ts';
import type { Session } from './session.ts';
import { asciiJson, bareJid, readKith, STANZA_ERROR_NS, xml, type Element } from './xml.ts';

/** What the handler returns is the reply; what it throws is the refusal. */
export type RequestHandler = (from: string, message: Request) => Promise<unknown>;

export interface Mailbox {
  /** Our full JID: where others reach this mailbox. */
  readonly self: string;
  /**
   * Rejects with the other side's refusal (its own code and hint), or `xmpp.peer-gone`, `xmpp.timeout`, `xmpp.oversized`,
   * `xmpp.queue-full`. A message to ourselves never leaves the process, but passes the same checks.
   */
  request<K extends RequestKind>(to: string, message: RequestOf<K>, options?: RequestOptions): Promise<Replies[K]>;
  /** One handler at a time; the returned function ends it. */
  serve(handler: RequestHandler): () => void;
}

/** Handlers that run at the same time. One friend with many peers cannot keep the others waiting. */
const MAX_RUNNING = 256;
const MAX_RUNNING_PER_ACCOUNT = 32;
const MAX_ID = 128;
/** Conditions by which servers say that nobody is there (RFC 6120 8.3.3, seen from Prosody and ejabberd). */
const GONE = ['service-unavailable', 'recipient-unavailable', 'item-not-found', 'remote-server-not-found', 'gone'];

export function openMailbox({ session, log = silentLog }: { readonly session: Session; readonly log?: Log }): Mailbox {
  const replays = new ReplayCache();
  const running = new Map<string, number>();
  let total = 0;
  let handler: RequestHandler | undefined;

  /** Runs the handler for the text of one request. Never rejects, always gives JSON: `{reply}` or `{refusal}`. */
  async function run(from: string, text: string): Promise<string> {
    const account = bareJid(from);
    const mine = running.get(account) ?? 0;
    if (total >= MAX_RUNNING || mine >= MAX_RUNNING_PER_ACCOUNT) return refuse(busy());
    running.set(account, mine + 1);
    total++;
    try {
      if (!handler)
        throw new KithError({ code: 'xmpp.not-serving', message: 'this peer takes no requests', retry: 'later' });
      const message = parseRequest(parseJson('message', 'xmpp.malformed', text, MAX_MESSAGE_BYTES));
      const reply = asciiJson({ reply: (await handler(from, message)) ?? {} });
      if (reply.length > MAX_MESSAGE_BYTES) throw oversized('the reply', reply.length);
      return reply;
    } catch (error) {
      if (!(error instanceof KithError)) log.warn('request failed', { from, reason: describeError(error) });
      return refuse(error);
    } finally {
      total--;
      const left = (running.get(account) ?? 1) - 1;
      if (left > 0) running.set(account, left);
      else running.delete(account);
    }
  }

  session.onStanza((stanza) => {
    const element =
      stanza.name === 'iq' && stanza.attrs['type'] === 'set' ? stanza.getChild('kith', KITH_NS) : undefined;
    if (!element || !handler) return false;
    const { from, to, id } = stanza.attrs as Partial<Record<string, string>>;
    // Only what names our very session; the server stamps `from`, so it cannot be forged by a peer.
    if (!from || to !== session.jid || !id || id.length > MAX_ID) return false;
    const text = element.getText();
    void replays
      .once(`${from} ${id}`, () => run(from, text))
      .then((body) => {
        const sent = session.send(answer(from, id, body), { priority: 'control' });
        if (!sent) log.warn('reply not sent', { from });
        return sent;
      });
    return true;
  });

  async function exchange(to: string, text: string, options: RequestOptions): Promise<unknown> {
    if (to === session.jid) return unpack(await orAborted(run(to, text), options.signal), to);
    try {
      const stanza = await session.request(to, 'set', xml('kith', { xmlns: KITH_NS }, text), options);
      return unpack(asciiJson({ reply: readKith(stanza, 'reply', MAX_MESSAGE_BYTES) }), to);
    } catch (error) {
      throw error instanceof Refused ? translate(error, to) : error;
    }
  }

  return {
    get self() {
      return session.jid;
    },
    async request(to, message, options = {}) {
      const text = asciiJson(message);
      if (text.length > MAX_MESSAGE_BYTES) throw oversized(`the message ${message.kind}`, text.length);
      const reply = await exchange(to, text, { timeoutMs: REQUEST_TIMEOUT_MS, ...options });
      return parseReply(message.kind, reply);
    },
    serve(next) {
      if (handler) throw new TypeError('this mailbox is served already');
      handler = next;
      return () => {
        if (handler === next) handler = undefined;
      };
    },
  };
}

/** The body of an answer as a stanza: a result, or an error that carries our refusal beside the condition. */
function answer(to: string, id: string, body: string): Element {
  const parsed = JSON.parse(body) as { readonly reply?: unknown; readonly refusal?: Refusal };
  if (!parsed.refusal)
    return xml('iq', { type: 'result', to, id }, xml('kith', { xmlns: KITH_NS }, asciiJson(parsed.reply)));
  const error = xml(
    'error',
    { type: 'cancel' },
    xml('undefined-condition', { xmlns: STANZA_ERROR_NS }),
    xml('kith', { xmlns: KITH_NS }, asciiJson(parsed.refusal)),
  );
  return xml('iq', { type: 'error', to, id }, error);
}

/** A thrown error as what travels: code, message and hint, never a stack. */
function refuse(error: unknown): string {
  const refusal: Refusal = {
    code: errorCode(error).slice(0, 64),
    message: (error instanceof KithError ? error.message : 'the request failed at the other side').slice(0, 1000),
    ...(error instanceof KithError && error.hint ? { hint: error.hint.slice(0, 500) } : {}),
  };
  return asciiJson({ refusal });
}

function unpack(body: string, to: string): unknown {
  const parsed = JSON.parse(body) as { readonly reply?: unknown; readonly refusal?: unknown };
  if (parsed.refusal === undefined) return parsed.reply;
  throw revive(parsed.refusal, to);
}

function revive(value: unknown, to: string): KithError {
  const { code, message, hint } = parseRefusal(value);
  return new KithError({ code, message, hint, cause: new Error(`refused by ${to}`) });
}

/** An error stanza: the other side's refusal if it carries one, else what its server says about it. */
function translate(error: Refused, to: string): KithError {
  const child = error.stanza.getChild('error');
  const refusal = child ? readKith(child, 'refusal', MAX_MESSAGE_BYTES) : undefined;
  if (refusal !== undefined) return revive(refusal, to);
  if (!GONE.some((condition) => error.code === `xmpp.${condition}`)) return error;
  return new KithError({
    code: 'xmpp.peer-gone',
    message: `${to} is not there any more`,
    hint: 'wait for it to come back, or go on without it',
    retry: 'later',
  });
}

const busy = () =>
  new KithError({
    code: 'xmpp.busy',
    message: 'this peer has too many requests at once',
    hint: 'try again later',
    retry: 'later',
  });

const oversized = (what: string, bytes: number) =>
  new KithError({
    code: 'xmpp.oversized',
    message: `${what} is ${bytes} bytes, more than the ${MAX_MESSAGE_BYTES} allowed`,
    retry: 'never',
  });
