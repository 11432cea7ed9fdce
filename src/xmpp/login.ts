/** From an open stream to an authenticated, bound one. */
import { KithError } from '../base/errors.ts';
import { createScram, MECHANISMS } from './scram.ts';
import type { Stream } from './stream.ts';
import { BIND_NS, SASL_NS, STREAM_NS, stanzaError, xml, type Element } from './xml.ts';

export async function readFeatures(stream: Stream): Promise<Element> {
  const features = await stream.read();
  if (!features.is('features', STREAM_NS)) throw unexpected(features, 'its features');
  return features;
}

/** SCRAM only, both sides proven (RFC 6120 6, RFC 5802). Leaves the stream freshly opened; features come next. */
export async function authenticate(
  stream: Stream,
  account: { readonly username: string; readonly password: string },
): Promise<void> {
  const features = await readFeatures(stream);
  const offered =
    features
      .getChild('mechanisms', SASL_NS)
      ?.getChildren('mechanism')
      .map((child) => child.getText()) ?? [];
  const mechanism = MECHANISMS.find((name) => offered.includes(name));
  if (!mechanism) {
    throw new KithError({
      code: 'xmpp.no-safe-login',
      message: `the server offers no safe login (only ${offered.join(', ').slice(0, 100) || 'nothing'})`,
      hint: 'use a server that offers SCRAM-SHA-256 or SCRAM-SHA-1',
    });
  }
  const { username } = account;
  const scram = createScram({ mechanism, ...account });
  stream.write(xml('auth', { xmlns: SASL_NS, mechanism }, encode(scram.first)).toString());
  const challenge = await readSasl(stream, 'challenge', username);
  stream.write(xml('response', { xmlns: SASL_NS }, encode(await scram.answer(challenge))).toString());
  scram.verify(await readSasl(stream, 'success', username));
  await stream.restart();
}

/** Binds a resource and returns the full JID (RFC 6120 7). */
export async function bind(stream: Stream, resource: string, id: string): Promise<string> {
  const child = xml('bind', { xmlns: BIND_NS }, xml('resource', {}, resource));
  stream.write(xml('iq', { type: 'set', id }, child).toString());
  const reply = await stream.read();
  if (!reply.is('iq') || reply.attrs['id'] !== id) throw unexpected(reply, 'a resource');
  if (reply.attrs['type'] !== 'result') throw stanzaError(reply, 'the server gave us no resource');
  const jid = reply.getChild('bind', BIND_NS)?.getChildText('jid');
  if (!jid || !jid.includes('/') || jid.length > 1024) throw unexpected(reply, 'a resource');
  return jid;
}

async function readSasl(stream: Stream, name: 'challenge' | 'success', username: string): Promise<string> {
  const element = await stream.read();
  if (element.is('failure', SASL_NS)) throw refused(element, username);
  if (!element.is(name, SASL_NS)) throw unexpected(element, name);
  return Buffer.from(element.getText(), 'base64').toString('utf8');
}

function refused(failure: Element, username: string): KithError {
  const condition = failure.getChildElements().find((child) => child.name !== 'text')?.name ?? 'not-authorized';
  if (condition === 'temporary-auth-failure') {
    return new KithError({
      code: 'xmpp.auth-later',
      message: 'the server cannot check passwords right now',
      retry: 'later',
    });
  }
  return new KithError({
    code: 'xmpp.auth-failed',
    message: `the server refused the login of ${username} (${condition})`,
    hint: 'check account and password, or ask for a new invitation',
  });
}

export const unexpected = (element: Element, wanted: string) =>
  new KithError({
    code: 'xmpp.protocol',
    message: `the server sent <${element.name.slice(0, 40)}> instead of ${wanted}`,
    retry: 'later',
  });

const encode = (text: string): string => Buffer.from(text).toString('base64');
