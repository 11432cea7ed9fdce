/** Ethernet in XMPP messages, the thesis's way: batches as base64 in headline messages, behind all control traffic. */
import { MAX_STANZA_FRAMES_BYTES } from '../protocol/limits.ts';
import { KITH_NS } from '../protocol/namespaces.ts';
import type { Session } from './session.ts';
import { HINTS_NS, xml, type Element } from './xml.ts';

/** Seals what goes through the server. */
export interface FrameCipher {
  /** Undefined: not yet; see onReady. */
  seal(to: string, link: string, payload: Uint8Array): SealedFrames | undefined;
  open(from: string, link: string, sealed: SealedFrames, deliver: (payload: Uint8Array) => void): void;
  onReady(handler: () => void): void;
  readonly refused: number;
}

interface SealedFrames {
  readonly key: string;
  readonly number: number;
  readonly bytes: Uint8Array;
}

export interface FrameChannel extends Disposable {
  /**
   * Payloads up to this size keep control quick: on a slow line a full one of MAX_STANZA_FRAMES_BYTES would hold it up for
   * seconds. Larger ones are sent all the same.
   */
  readonly maxPayload: number;
  /** Never waits. False: not taken (too large, no server), counted. */
  send(to: string, link: string, payload: Uint8Array): boolean;
  /**
   * Payloads from this full JID for this link: two peers may share several LANs. The payload is the handler's until it returns.
   * One listener per peer and link; a second one takes the place of the first.
   */
  listen(from: string, link: string, handler: (payload: Uint8Array) => void): () => void;
  /** True when a payload handed over now would leave now. Otherwise gather: small frames then share one stanza. */
  ready(to: string): boolean;
  /** Called when one more stanza may go. Handlers take turns, and each gets one stanza per turn. */
  onReady(handler: () => void): () => void;
  /** Payloads of ours that were dropped, and stanzas of others that were not valid. */
  readonly drops: number;
}

/** A full Ethernet frame with its batch header must fit whatever the server's limit is. */
const MIN_PAYLOAD_BYTES = 2000;
/** As long as the name of a signalling channel may be: `link:<job>:1-2` is 50 characters. */
const MAX_LINK_LENGTH = 160;
/** One stanza may take this part of a second of the line; at 10 kB/s that is 2.5 kB on the wire. */
const STANZA_SECONDS = 0.25;

export function openFrameChannel(options: { readonly session: Session; readonly cipher: FrameCipher }): FrameChannel {
  const { session, cipher } = options;
  const maxPayload = () => {
    const wire = session.bytesPerSecond * STANZA_SECONDS;
    return Math.min(MAX_STANZA_FRAMES_BYTES, Math.max(MIN_PAYLOAD_BYTES, Math.floor((wire * 3) / 4)));
  };
  const listeners = new Map<string, (payload: Uint8Array) => void>();
  // Insertion order is the order of turns: whoever sent goes to the end.
  const turns = new Map<object, () => void>();
  /** During a turn: how many stanzas it brought, at most one. */
  let turn: { sent: number } | undefined;
  let refused = 0;

  const take = (stanza: Element): boolean => {
    if (stanza.name !== 'message' || stanza.attrs['type'] !== 'headline') return false;
    const body = stanza.getChild('frames', KITH_NS);
    if (!body) return false;
    const link = String(body.attrs['link'] ?? '');
    const handler =
      link.length > MAX_LINK_LENGTH ? undefined : listeners.get(keyOf(String(stanza.attrs['from']), link));
    const sealed = stanza.attrs['to'] === session.jid && handler ? readSealed(body) : undefined;
    if (sealed && handler) cipher.open(String(stanza.attrs['from']), link, sealed, handler);
    else refused++;
    return true;
  };

  const pull = (): boolean => {
    const mine = { sent: 0 };
    turn = mine;
    try {
      for (const [key, handler] of turns) {
        handler();
        if (mine.sent === 0) continue;
        if (turns.delete(key)) turns.set(key, handler);
        return true;
      }
      return false;
    } finally {
      turn = undefined;
    }
  };

  cipher.onReady(() => {
    for (const handler of turns.values()) handler();
  });
  const undo = [session.onStanza(take), session.onFramesReady(pull)];
  return {
    get maxPayload() {
      return maxPayload();
    },
    send(to, link, payload) {
      if (payload.length > MAX_STANZA_FRAMES_BYTES) {
        refused++;
        return false;
      }
      const sealed = cipher.seal(to, link, payload);
      if (!sealed) return false;
      const text = Buffer.from(sealed.bytes).toString('base64');
      // headline: never stored offline, never copied to other clients (measured); the hint keeps archives out (XEP-0334).
      const stanza = xml(
        'message',
        { type: 'headline', to },
        xml('frames', { xmlns: KITH_NS, link, key: sealed.key, n: String(sealed.number) }, text),
        xml('no-store', { xmlns: HINTS_NS }),
      );
      const taken = session.send(stanza, { priority: 'frames' });
      if (taken && turn) turn.sent++;
      return taken;
    },
    listen(from, link, handler) {
      if (link.length > MAX_LINK_LENGTH) throw new RangeError(`a link name of ${link.length} characters`);
      const key = keyOf(from, link);
      listeners.set(key, handler);
      return () => {
        if (listeners.get(key) === handler) listeners.delete(key);
      };
    },
    ready: () => (turn ? turn.sent === 0 : true) && session.framesReady,
    onReady(handler) {
      const key = {};
      turns.set(key, handler);
      return () => turns.delete(key);
    },
    get drops() {
      return refused + cipher.refused + session.counters().frameDrops;
    },
    [Symbol.dispose]() {
      for (const end of undo) end();
    },
  };
}

/** Quoted, so that no choice of the one can be taken for the other. */
const keyOf = (from: string, link: string): string => JSON.stringify([from, link]);

/** Seal included. */
const MAX_TEXT = Math.ceil((MAX_STANZA_FRAMES_BYTES + 16) / 3) * 4;

function readSealed(body: Element): SealedFrames | undefined {
  const { key, n } = body.attrs as Partial<Record<string, string>>;
  const bytes = decode(body.getText());
  if (!bytes || !key || !/^[A-Za-z0-9_-]{43}$/.test(key) || !/^\d{1,15}$/.test(n ?? '')) return undefined;
  return { key, number: Number(n), bytes };
}

/** Undefined unless it is base64 of at most the protocol's cap; Buffer alone would skip what is not. */
function decode(text: string): Uint8Array | undefined {
  if (text.length > MAX_TEXT || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) {
    return undefined;
  }
  return Buffer.from(text, 'base64');
}
