/** XML as this room needs it: stanzas, and JSON in one element of ours, ASCII only. */
import { xml } from '@xmpp/client';
import { asciiJson } from '../base/ascii.ts';
import { KithError } from '../base/errors.ts';
import { parseJson } from '../base/validate.ts';
import { KITH_NS } from '../protocol/namespaces.ts';

export { asciiJson, xml };
export type Element = ReturnType<typeof xml>;

export const SM_NS = 'urn:xmpp:sm:3';
export const SASL_NS = 'urn:ietf:params:xml:ns:xmpp-sasl';
export const STREAM_NS = 'http://etherx.jabber.org/streams';
export const BIND_NS = 'urn:ietf:params:xml:ns:xmpp-bind';
export const STANZA_ERROR_NS = 'urn:ietf:params:xml:ns:xmpp-stanzas';
export const MUC_NS = 'http://jabber.org/protocol/muc';
export const HINTS_NS = 'urn:xmpp:hints';

/** `<kith xmlns='urn:kith:0'>JSON</kith>` */
export const kithElement = (value: unknown): Element => xml('kith', { xmlns: KITH_NS }, asciiJson(value));

/** The JSON inside our element of this stanza; undefined if there is none. Throws a KithError if it is too large or not JSON. */
export function readKith(stanza: Element, what: string, maxBytes: number): unknown {
  const element = stanza.getChild('kith', KITH_NS);
  return element ? parseJson(what, 'xmpp.malformed', element.getText(), maxBytes) : undefined;
}

/**
 * For names that are kept: what the parser hands out is a slice of the text in which it came, up to 512 KiB, and whoever keeps a slice
 * keeps the whole (V8; a flood grew a peer by 96 MiB, with copies by 4: measured).
 */
export const ownText = (text: string): string => Buffer.from(text).toString();

export const bareJid = (jid: string): string => jid.split('/', 1)[0] ?? jid;

export const resourceOf = (jid: string): string => (jid.includes('/') ? jid.slice(jid.indexOf('/') + 1) : '');

export const domainOf = (jid: string): string => bareJid(jid).replace(/^[^@]*@/, '');

/** The defined condition of an error stanza (RFC 6120 8.3), `undefined-condition` if it has none. */
export function errorCondition(stanza: Element): string {
  const error = stanza.getChild('error');
  const condition = error
    ?.getChildElements()
    .find((child) => child.getNS() === STANZA_ERROR_NS && child.name !== 'text');
  return condition?.name ?? 'undefined-condition';
}

/** An error stanza as a KithError with code `xmpp.<condition>`. */
export function stanzaError(stanza: Element, what: string): KithError {
  const condition = errorCondition(stanza);
  const text = stanza.getChild('error')?.getChildText('text', STANZA_ERROR_NS)?.slice(0, 300);
  return new KithError({
    code: `xmpp.${condition}`,
    message: `${what}: ${text || condition}`,
    retry: stanza.getChild('error')?.attrs['type'] === 'wait' ? 'later' : 'never',
  });
}
