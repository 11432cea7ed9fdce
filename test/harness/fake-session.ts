/** A session without a server: what is sent lands in a list, what arrives is handed in. */
import type { Session } from '../../src/xmpp/session.ts';
import type { Element } from '../../src/xmpp/xml.ts';

export interface FakeSession extends Session {
  readonly sent: readonly { readonly stanza: Element; readonly priority: string }[];
  arrive(stanza: Element): boolean;
  /** Lets this many frame stanzas go, as the pump would. */
  allow(stanzas: number): void;
}

export function fakeSession(jid: string, options: { readonly bytesPerSecond?: number } = {}): FakeSession {
  const handlers = new Set<(stanza: Element) => boolean | void>();
  const pullers = new Set<() => boolean>();
  const sent: { stanza: Element; priority: string }[] = [];
  let tokens = 0;
  const nothing = () => () => {};
  return {
    jid,
    state: 'online',
    bytesPerSecond: options.bytesPerSecond ?? 1e6,
    sent,
    send(stanza, { priority }) {
      sent.push({ stanza, priority });
      if (priority === 'frames') tokens--;
      return true;
    },
    request: () => Promise.reject(new Error('no server')),
    onStanza(handler) {
      handlers.add(handler);
      return () => handlers.delete(handler);
    },
    onFresh: nothing,
    onLost: nothing,
    onOnline: nothing,
    get framesReady() {
      return tokens > 0;
    },
    onFramesReady(puller) {
      pullers.add(puller);
      return () => pullers.delete(puller);
    },
    counters: () => ({ resumed: 0, fresh: 1, repeats: 0, frameDrops: 0, unconfirmed: 0 }),
    closed: new Promise(() => {}),
    arrive: (stanza) => [...handlers].map((handler) => handler(stanza)).includes(true),
    allow(stanzas) {
      tokens = stanzas;
      for (let turn = 0; turn < stanzas; turn++) if (![...pullers].some((puller) => puller())) break;
      tokens = 0;
    },
    async [Symbol.asyncDispose]() {},
  };
}
