/** Making an account with an invitation: in-band registration (XEP-0077) unlocked by a token (XEP-0445), over the pinned stream. */
import { KithError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { tokenError, tokenFaultOf, registrationToken } from '../protocol/tokens.ts';
import { readFeatures, unexpected } from './login.ts';
import { openStream, type Stream } from './stream.ts';
import { errorCondition, STANZA_ERROR_NS, stanzaError, xml, type Element } from './xml.ts';

export interface Registration {
  readonly host: string;
  readonly port: number;
  readonly domain: string;
  readonly fingerprint?: string;
  readonly token: string;
  readonly username: string;
  readonly password: string;
  readonly signal?: AbortSignal;
  /** Of the whole conversation. */
  readonly timeoutMs?: number;
}

const DEADLINE_MS = 30_000;

/** Errors: `invitation.unknown`, `.expired`, `.used-up`, `.revoked`; `xmpp.account-taken`, and those of connecting. */
export async function registerAccount(options: Registration): Promise<void> {
  const late = AbortSignal.timeout(options.timeoutMs ?? DEADLINE_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, late]) : late;
  try {
    await converse(options, signal);
  } catch (error) {
    throw error === late.reason ? silent(options, error) : error;
  }
}

async function converse(options: Registration, signal: AbortSignal): Promise<void> {
  const { token, username, password, domain } = options;
  const stream = await openStream({ ...options, signal });
  try {
    await readFeatures(stream);
    const allowed = await ask(
      stream,
      domain,
      xml('preauth', { xmlns: 'urn:xmpp:pars:0', token: registrationToken(token) }),
    );
    if (allowed.attrs['type'] === 'error') throw tokenRefused(allowed);
    const query = xml(
      'query',
      { xmlns: 'jabber:iq:register' },
      xml('username', {}, username),
      xml('password', {}, password),
    );
    const made = await ask(stream, domain, query);
    if (made.attrs['type'] === 'error') throw refusal(made, username);
  } finally {
    await stream.close();
  }
}

async function ask(stream: Stream, to: string, child: Element): Promise<Element> {
  const id = newId();
  stream.write(xml('iq', { type: 'set', id, to }, child).toString());
  const reply = await stream.read();
  if (!reply.is('iq') || reply.attrs['id'] !== id) throw unexpected(reply, 'an answer');
  return reply;
}

const silent = ({ host, port, timeoutMs = DEADLINE_MS }: Registration, cause: unknown) =>
  new KithError({
    code: 'xmpp.unreachable',
    message: `the server at ${host}:${port} did not answer within ${timeoutMs / 1000} s`,
    hint: 'check that an XMPP server runs there and that address and port are right, then try again',
    retry: 'later',
    cause,
  });

const tokenRefused = (reply: Element) =>
  tokenError(tokenFaultOf(reply.getChild('error')?.getChildText('text', STANZA_ERROR_NS) ?? undefined));

function refusal(reply: Element, username: string): KithError {
  const condition = errorCondition(reply);
  if (condition === 'conflict') {
    return new KithError({
      code: 'xmpp.account-taken',
      message: `the account ${username} exists already`,
      hint: 'choose another name',
    });
  }
  if (condition === 'not-allowed' || condition === 'forbidden') return tokenRefused(reply);
  return stanzaError(reply, `the server did not make the account ${username}`);
}
