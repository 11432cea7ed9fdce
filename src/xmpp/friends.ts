/** Mutual subscription (RFC 6121, 3): two accounts in each other's contact list, so that any XMPP client of theirs shows it, too. */
import type { Session } from './session.ts';
import { bareJid, xml, type Element } from './xml.ts';

const ROSTER_NS = 'jabber:iq:roster';

export interface Friends extends Disposable {
  /** Asks the account. True: both are on each other's list; false: not in time, which changes nothing else. */
  befriend(account: string, options: { readonly timeoutMs: number; readonly signal: AbortSignal }): Promise<boolean>;
}

/** Says yes to each account that `welcome` lets pass, and asks it in turn. */
export async function openFriends(options: {
  readonly session: Session;
  readonly welcome: (account: string) => boolean;
  readonly signal: AbortSignal;
}): Promise<Friends> {
  const { session, welcome, signal } = options;
  const mutual = new Set<string>();
  const waiting = new Map<string, () => void>();
  const say = (type: string, to: string) => session.send(xml('presence', { type, to }), { priority: 'control' });

  const learn = (query: Element | undefined): void => {
    for (const { attrs } of query?.getChildren('item') ?? []) {
      if (attrs['subscription'] !== 'both') continue;
      const account = String(attrs['jid']);
      mutual.add(account);
      waiting.get(account)?.();
    }
  };

  function onStanza(stanza: Element): boolean {
    const { from = '', type, id } = stanza.attrs as Partial<Record<string, string>>;
    const query = stanza.name === 'iq' && type === 'set' ? stanza.getChild('query', ROSTER_NS) : undefined;
    if (query) {
      // A push of our own server alone (RFC 6121 2.1.6): anybody could send one.
      if (from !== '' && from !== bareJid(session.jid)) return false;
      learn(query);
      session.send(xml('iq', { type: 'result', ...(id === undefined ? {} : { id }) }), { priority: 'control' });
      return true;
    }
    if (stanza.name !== 'presence' || type !== 'subscribe' || !welcome(bareJid(from))) return false;
    say('subscribed', bareJid(from));
    if (!mutual.has(bareJid(from))) say('subscribe', bareJid(from));
    return true;
  }

  const end = session.onStanza(onStanza);
  // Only who has asked for its list is told of changes.
  const list = await session.request(undefined, 'get', xml('query', { xmlns: ROSTER_NS }), { signal });
  learn(list.getChild('query', ROSTER_NS));
  return {
    async befriend(account, { timeoutMs, signal: until }) {
      if (mutual.has(account)) return true;
      const { promise, resolve } = Promise.withResolvers<void>();
      const stop = AbortSignal.any([until, AbortSignal.timeout(timeoutMs)]);
      stop.addEventListener('abort', () => resolve(), { once: true });
      waiting.set(account, resolve);
      say('subscribe', account);
      await promise;
      waiting.delete(account);
      return mutual.has(account);
    },
    [Symbol.dispose]: end,
  };
}
