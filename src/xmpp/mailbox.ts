/** Request and reply between peers: typed messages in sealed envelopes in IQs to full JIDs, each run once, each answered or refused. */
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
import { asciiJson, bareJid, type Element, ownText, readKith, STANZA_ERROR_NS, xml } from './xml.ts';

/** Envelopes: what the server carries it can neither read nor forge. */
export interface Seals {
  /** `re`: the id of the question that this answers. */
  seal(
    to: string,
    purpose: string,
    text: string,
    re?: string,
  ): Promise<{ readonly signed: string; readonly id: string }>;
  /** Rejects with a KithError what is not from this sender, for us, now, and an answer to `re`. */
  open(
    from: string,
    signed: string,
    re?: string,
  ): Promise<{ readonly purpose: string; readonly text: string; readonly id: string }>;
}

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
const MAX_REFUSAL_BYTES = 8192;
/** Conditions by which servers say that nobody is there (RFC 6120 8.3.3, seen from Prosody and ejabberd). */
const GONE = ['service-unavailable', 'recipient-unavailable', 'item-not-found', 'remote-server-not-found', 'gone'];

export function openMailbox(options: {
  readonly session: Session;
  readonly seals: Seals;
  readonly log?: Log;
}): Mailbox {
  const { session, seals, log = silentLog } = options;
  const replays = new ReplayCache();
  const running = new Map<string, number>();
  let total = 0;
  let handler: RequestHandler | undefined;

  /** Runs the handler for the text of one request. Never rejects, always gives JSON: `{reply}` or `{refusal}`. */
  async function run(from: string, text: string, purpose: string): Promise<string> {
    try {
      if (!handler)
        throw new KithError({ code: 'xmpp.not-serving', message: 'this peer takes no requests', retry: 'later' });
      const message = parseRequest(parseJson('message', 'xmpp.malformed', text, MAX_MESSAGE_BYTES));
      if (message.kind !== purpose)
        throw new KithError({
          code: 'xmpp.malformed',
          message: `a ${message.kind} came as ${purpose.slice(0, 64)}`,
          retry: 'never',
        });
      const reply = asciiJson({ reply: (await handler(from, message)) ?? {} });
      if (reply.length > MAX_MESSAGE_BYTES) throw oversized('the reply', reply.length);
      return reply;
    } catch (error) {
      if (!(error instanceof KithError)) log.warn('request failed', { from, reason: describeError(error) });
      return asciiJson({ refusal: refusalOf(error) });
    }
  }

  /** The answer to one envelope. Never rejects. What cannot be opened is refused in the open, and counts as no word of ours. */
  async function answerEnvelope(from: string, signed: string): Promise<string> {
    const account = bareJid(from);
    const mine = running.get(account) ?? 0;
    if (total >= MAX_RUNNING || mine >= MAX_RUNNING_PER_ACCOUNT) return asciiJson({ refusal: refusalOf(busy()) });
    running.set(account, mine + 1);
    total++;
    try {
      const { purpose, text, id } = await seals.open(from, signed);
      const body = await run(from, text, purpose);
      return asciiJson({ sealed: (await seals.seal(from, `${purpose}.reply`, body, id)).signed });
    } catch (error) {
      log.warn('request refused', { from, code: errorCode(error), reason: describeError(error) });
      return asciiJson({ refusal: refusalOf(error) });
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
    // Only what names our very session.
    if (!from || to !== session.jid || !id || id.length > MAX_ID) return false;
    const text = element.getText();
    void replays
      .once(ownText(`${from} ${id}`), () => answerEnvelope(from, text))
      .then((body) => {
        const sent = session.send(answer(from, id, body), { priority: 'control' });
        if (!sent) log.warn('reply not sent', { from });
        return sent;
      });
    return true;
  });

  async function exchange(to: string, kind: string, text: string, options: RequestOptions): Promise<unknown> {
    if (to === session.jid) return unpack(await orAborted(run(to, text, kind), options.signal), to);
    const { signed, id } = await seals.seal(to, kind, text);
    try {
      const stanza = await session.request(to, 'set', xml('kith', { xmlns: KITH_NS }, signed), options);
      const sealed = stanza.getChild('kith', KITH_NS)?.getText() ?? '';
      const opened = await seals.open(to, sealed, id);
      if (opened.purpose !== `${kind}.reply`) throw unsealed(to, 'another answer');
      return unpack(opened.text, to);
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
      const reply = await exchange(to, message.kind, text, { timeoutMs: REQUEST_TIMEOUT_MS, ...options });
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

/** An answer as a stanza: a result with an envelope, or an error with what could not be sealed beside the condition. */
function answer(to: string, id: string, body: string): Element {
  const { sealed, refusal } = JSON.parse(body) as { readonly sealed?: string; readonly refusal?: Refusal };
  if (sealed !== undefined) return xml('iq', { type: 'result', to, id }, xml('kith', { xmlns: KITH_NS }, sealed));
  const error = xml(
    'error',
    { type: 'cancel' },
    xml('undefined-condition', { xmlns: STANZA_ERROR_NS }),
    xml('kith', { xmlns: KITH_NS }, asciiJson(refusal)),
  );
  return xml('iq', { type: 'error', to, id }, error);
}

/** A thrown error as what travels: code, message and hint, never a stack. */
const refusalOf = (error: unknown): Refusal => ({
  code: errorCode(error).slice(0, 64),
  message: (error instanceof KithError ? error.message : 'the request failed at the other side').slice(0, 1000),
  ...(error instanceof KithError && error.hint ? { hint: error.hint.slice(0, 500) } : {}),
});

function unpack(body: string, to: string): unknown {
  const parsed = JSON.parse(body) as { readonly reply?: unknown; readonly refusal?: unknown };
  if (parsed.refusal === undefined) return parsed.reply;
  throw revive(parsed.refusal, to);
}

function revive(value: unknown, to: string): KithError {
  const { code, message, hint } = parseRefusal(value);
  return new KithError({ code, message, hint, cause: new Error(`refused by ${to}`) });
}

/** An error stanza: what could not be sealed, else what the server says about the other side. */
function translate(error: Refused, to: string): KithError {
  const child = error.stanza.getChild('error');
  const refusal = child ? readKith(child, 'refusal', MAX_REFUSAL_BYTES) : undefined;
  if (refusal !== undefined) return unsealed(to, parseRefusal(refusal).message);
  if (!GONE.some((condition) => error.code === `xmpp.${condition}`)) return error;
  return new KithError({
    code: 'xmpp.peer-gone',
    message: `${to} is not there any more`,
    hint: 'wait for it to come back, or go on without it',
    retry: 'later',
  });
}

/** The server can say this as well as the peer: it is no owner's word, and whoever asked may ask again. */
const unsealed = (to: string, why: string) =>
  new KithError({
    code: 'xmpp.unsealed-refusal',
    message: `${to}, or the server in its name, refused: ${why}`,
    retry: 'later',
  });

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
