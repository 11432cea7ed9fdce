/** Everything that arrives: repeats dropped, handlers shielded, questions that nobody takes refused. */
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { ownText, STANZA_ERROR_NS, xml, type Element } from './xml.ts';

/** True: taken, nobody else needs to answer it. */
export type StanzaHandler = (stanza: Element) => boolean | void;

/** Ids of messages that are remembered. At-least-once delivery repeats at most what was unconfirmed, some hundreds. */
const MAX_SEEN = 5000;
const MAX_ID = 256;

export function createInbox(options: {
  readonly settle: (stanza: Element) => boolean;
  readonly reply: (stanza: Element) => void;
  readonly log: Log;
}) {
  const { settle, reply, log } = options;
  const handlers = new Set<StanzaHandler>();
  const seen = new Set<string>();
  let repeats = 0;

  /** Resending after a lost receipt makes repeats; ids of ours are UUIDs (XEP-0198 leaves this to us). */
  function isRepeat(stanza: Element): boolean {
    const { id, from, type } = stanza.attrs as Partial<Record<string, string>>;
    if (stanza.name !== 'message' || !id || id.length > MAX_ID || type === 'error') return false;
    const key = ownText(`${from ?? ''} ${id}`);
    if (seen.has(key)) return true;
    seen.add(key);
    if (seen.size > MAX_SEEN) for (const oldest of seen.values()) return !seen.delete(oldest);
    return false;
  }

  return {
    get repeats() {
      return repeats;
    },
    onStanza(handler: StanzaHandler): () => void {
      handlers.add(handler);
      return () => handlers.delete(handler);
    },
    /** Never throws: what a stranger sends must not end the process. */
    deliver(stanza: Element): void {
      const { type, id } = stanza.attrs as Partial<Record<string, string>>;
      if (stanza.name === 'iq' && (type === 'result' || type === 'error')) {
        if (!settle(stanza)) log.debug('stray answer dropped', { from: stanza.attrs['from'] });
        return;
      }
      if (isRepeat(stanza)) return void repeats++;
      let taken = false;
      for (const handler of handlers) {
        try {
          if (handler(stanza) === true) taken = true;
        } catch (error) {
          log.warn('stanza handler failed', { from: stanza.attrs['from'], reason: describeError(error) });
        }
      }
      if (stanza.name === 'iq' && !taken && id && id.length <= MAX_ID) reply(answerUntaken(stanza));
    },
  };
}

/** XEP-0199 pings are answered; every other question is `service-unavailable` (RFC 6120 8.4), without an echo of its content. */
function answerUntaken(stanza: Element): Element {
  const { from: to, id } = stanza.attrs as Partial<Record<string, string>>;
  const address = { id, ...(to === undefined ? {} : { to }) };
  if (stanza.attrs['type'] === 'get' && stanza.getChild('ping', 'urn:xmpp:ping'))
    return xml('iq', { type: 'result', ...address });
  return xml(
    'iq',
    { type: 'error', ...address },
    xml('error', { type: 'cancel' }, xml('service-unavailable', { xmlns: STANZA_ERROR_NS })),
  );
}
