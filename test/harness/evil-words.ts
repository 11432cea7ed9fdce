/** What a malicious server can say with what it knows: stanzas in anybody's name, envelopes with every field but the right signature. */
import { generateKeyPairSync, sign } from 'node:crypto';
import { xml } from '@xmpp/client';
import { asciiJson } from '../../src/base/ascii.ts';
import { KithError } from '../../src/base/errors.ts';
import { newId } from '../../src/base/ids.ts';
import { KITH_NS } from '../../src/protocol/namespaces.ts';
import type { RequestKind, RequestOf } from '../../src/protocol/messages.ts';
import { sealBox, type BoxKey } from '../../src/trust/box.ts';
import type { Device } from '../../src/trust/device.ts';
import { boxInfo, signEnvelope, type Envelope } from '../../src/trust/envelope.ts';
import { MUC_NS, type Element } from '../../src/xmpp/xml.ts';
import type { Friend } from './evil-friends.ts';
import type { Outcome } from './evil-rows.ts';
import type { EvilServer, Traffic } from './evil-server.ts';

/** A key that nobody knows. */
export function strangeDevice(): Device {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { key: publicKey.export({ format: 'jwk' }).x ?? '', sign: (bytes) => sign(null, bytes, privateKey) };
}

export const question = (from: string, to: string, signed: string, id = newId()): Element =>
  xml('iq', { type: 'set', id, from, to }, xml('kith', { xmlns: KITH_NS }, signed));

export const textOf = (stanza: Element): string => stanza.getChildText('kith', KITH_NS) ?? '';

/** Our answers that were not sealed carry their reason in the open. */
export function reasonOf(answer: Element): string {
  const text = answer.getChild('error')?.getChildText('kith', KITH_NS);
  if (text) return (JSON.parse(text) as { message: string }).message.replace(/^a message of \S+ is refused: /, '');
  return answer.attrs['type'] === 'result' ? 'in a sealed answer' : 'service-unavailable';
}

/** Brings a question to a friend; it succeeded if the friend's handler heard of it. */
export async function deliver(evil: EvilServer, victim: Friend, stanza: Element): Promise<Outcome> {
  const before = victim.heard.length;
  const answer = await evil.ask(victim.jid, stanza);
  return victim.heard.length > before ? 'succeeded' : `refused: ${reasonOf(answer)}`;
}

/** The very stanza of an honest question, which its receiver never saw. */
export async function intercept(
  evil: EvilServer,
  from: Friend,
  to: Friend,
  message: RequestOf<RequestKind>,
): Promise<{ readonly stanza: Element; readonly signed: string; readonly reply: Promise<unknown> } & Disposable> {
  const taken = evil.take(isQuestion(from, to));
  const stop = new AbortController();
  const reply = from.mailbox.request(to.jid, message, { signal: stop.signal });
  reply.catch(() => {});
  const { stanza } = await taken;
  stanza.attrs['from'] = from.jid;
  return { stanza, signed: textOf(stanza), reply, [Symbol.dispose]: () => stop.abort() };
}

const isQuestion =
  (from: Friend, to: Friend) =>
  ({ client, direction, stanza }: Traffic): boolean =>
    client === from.jid && direction === 'toServer' && stanza.attrs['to'] === to.jid && stanza.attrs['type'] === 'set';

/** What of a peer or friend a forger looks at, all of it public. */
export type Known = Pick<Friend, 'jid' | 'circle'> & {
  readonly device: Pick<Device, 'key'>;
  readonly room: Pick<Friend['room'], 'jid'>;
};

/** As from the sender in all but the signature: everything else is public or known to whoever carries the messages. */
export async function forge(
  by: Device,
  from: Known,
  to: Known,
  purpose: string,
  text: string,
  more: Partial<Envelope> = {},
): Promise<string> {
  const head = {
    room: from.room.jid,
    from: from.jid,
    fromSession: to.circle.member(from.jid)?.session ?? '',
    to: to.jid,
    toSession: from.circle.member(to.jid)?.session ?? '',
    purpose,
    time: Date.now(),
    // The next one that may come: a jump would be an attack of its own.
    counter: 500,
    ...more,
  };
  const sealed = await sealBox(to.circle.boxKey.key, boxInfo(head, from.device.key), text);
  return signEnvelope(by, { ...head, ...sealed, ...more });
}

export const forgeRequest = (by: Device, from: Friend, to: Friend, message: RequestOf<RequestKind>): Promise<string> =>
  forge(by, from, to, message.kind, asciiJson(message));

/** Presence of an occupant as the room would say it. */
export function presence(
  who: { readonly room: string; readonly nick: string; readonly jid: string },
  to: string,
  hello?: string,
): Element {
  return xml(
    'presence',
    { from: `${who.room}/${who.nick}`, to },
    ...(hello === undefined ? [] : [xml('kith', { xmlns: KITH_NS }, hello)]),
    xml('x', { xmlns: `${MUC_NS}#user` }, xml('item', { affiliation: 'member', role: 'participant', jid: who.jid })),
  );
}

export const absence = (
  who: { readonly room: string; readonly nick: string; readonly jid: string },
  to: string,
): Element =>
  xml(
    'presence',
    { from: `${who.room}/${who.nick}`, to, type: 'unavailable' },
    xml('x', { xmlns: `${MUC_NS}#user` }, xml('item', { affiliation: 'member', role: 'none', jid: who.jid })),
  );

export const isAnswer =
  (from: Friend, to: Friend) =>
  ({ client, direction, stanza }: Traffic): boolean =>
    client === from.jid &&
    direction === 'toServer' &&
    stanza.attrs['to'] === to.jid &&
    ['result', 'error'].includes(String(stanza.attrs['type']));

export const answer = (from: string, to: string, id: string, signed: string): Element =>
  xml('iq', { type: 'result', id, from, to }, xml('kith', { xmlns: KITH_NS }, signed));

/** The server takes a question and answers it itself; it succeeded if the asker believes it. */
export async function answering(
  evil: EvilServer,
  asker: Friend,
  asked: Friend,
  message: RequestOf<RequestKind>,
  make: (id: string, signed: string) => Element | Promise<Element>,
): Promise<Outcome> {
  const taken = evil.take(isQuestion(asker, asked));
  const reply = asker.mailbox.request(asked.jid, message);
  reply.catch(() => {});
  const { stanza } = await taken;
  evil.inject(asker.jid, await make(String(stanza.attrs['id']), textOf(stanza)));
  return reply.then(
    () => 'succeeded',
    (error: unknown) => `refused: ${error instanceof KithError ? error.code : String(error)}` as const,
  );
}

/** While a guard of the box is off, it opens with this key, or for this purpose. */
export function leak(what: { readonly key?: BoxKey; readonly info?: string }): Disposable {
  const leaks = globalThis as { kithBox?: BoxKey | undefined; kithInfo?: string | undefined };
  leaks.kithBox = what.key;
  leaks.kithInfo = what.info;
  return {
    [Symbol.dispose]() {
      leaks.kithBox = undefined;
      leaks.kithInfo = undefined;
    },
  };
}
