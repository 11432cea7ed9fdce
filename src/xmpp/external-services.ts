/** STUN and TURN servers that our own XMPP server names (XEP-0215), as the data channels want them; what the owner configured comes first. */
import type { Log } from '../base/log.ts';
import { describeError } from '../base/errors.ts';
import type { Session } from './session.ts';
import { domainOf, ownText, xml, type Element } from './xml.ts';

const NS = 'urn:xmpp:extdisco:2';
const TIMEOUT_MS = 5000;
/** libjuice uses one STUN server and up to two TURN servers; a second of each kind is for the case that one is mute. */
const MAX_OF_A_KIND = 2;
/** A server names a handful. */
const MAX_SERVICES = 20;
const MAX_CREDENTIAL_LENGTH = 256;
/** Names, IPv4, and IPv6 without brackets. */
const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45})$/;
const DEFAULT_PORT = 3478;

/** Asked again after this at the latest: servers come and go. */
const MAX_AGE_MS = 3_600_000;
/** A credential has to be good for this long when it is used: an attempt, and the first refresh of an allocation (RFC 8656: 10 minutes). */
const SPARE_MS = 900_000;
/** However short-lived its credentials are, the server is not asked more often; the same after a failure. */
const MIN_AGE_MS = 60_000;

interface Found {
  readonly servers: readonly string[];
  readonly goodUntil: number;
}

/**
 * The returned function is to be called at each dial. It never rejects: no answer, no such servers, nonsense all mean none. The
 * XMPP server learns nothing by this that it does not know; a TURN server that it chose sees DTLS, and who talks to whom.
 */
export function externalIceServers(options: {
  readonly session: Pick<Session, 'jid' | 'request'>;
  readonly configured: readonly string[];
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly log: Log;
}): () => Promise<readonly string[]> {
  const { session, configured, now, log } = options;
  if (configured.length > 0) return async () => configured;
  let asking: Promise<Found> | undefined;
  let found: Found = { servers: [], goodUntil: -Infinity };

  async function ask(): Promise<Found> {
    try {
      const to = domainOf(session.jid);
      const answer = await session.request(to, 'get', xml('services', { xmlns: NS }), { timeoutMs: TIMEOUT_MS });
      return readServices(answer, now());
    } catch (error) {
      log.debug('no external services', { reason: describeError(error) });
      return { servers: [], goodUntil: now() + MIN_AGE_MS };
    }
  }

  return async () => {
    if (now() < found.goodUntil) return found.servers;
    asking ??= ask();
    found = await asking;
    asking = undefined;
    return found.servers;
  };
}

function readServices(answer: Element, now: number): Found {
  const services = answer.getChild('services', NS)?.getChildren('service', NS) ?? [];
  const servers = { stun: [] as string[], turn: [] as string[] };
  let goodUntil = now + MAX_AGE_MS;
  for (const service of services.slice(0, MAX_SERVICES)) {
    const server = readService(service, now);
    if (!server || servers[server.kind].length >= MAX_OF_A_KIND) continue;
    servers[server.kind].push(ownText(server.text));
    goodUntil = Math.min(goodUntil, server.expires - SPARE_MS);
  }
  return { servers: [...servers.stun, ...servers.turn], goodUntil: Math.max(goodUntil, now + MIN_AGE_MS) };
}

/** libjuice speaks UDP only. A TURN server without credentials is one that we may not use. */
function readService(
  { attrs }: Element,
  now: number,
): { readonly kind: 'stun' | 'turn'; readonly text: string; readonly expires: number } | undefined {
  const { type: kind, transport = 'udp', host = '', port, username, password, expires } = attrs as Attributes;
  if ((kind !== 'stun' && kind !== 'turn') || transport !== 'udp' || !HOST.test(host)) return undefined;
  const number = port === undefined ? DEFAULT_PORT : /^\d{1,5}$/.test(port) ? Number(port) : 0;
  if (number < 1 || number > 65_535) return undefined;
  const until = expires === undefined ? Infinity : Date.parse(expires);
  if (!(until > now)) return undefined;
  const place = `${host.includes(':') ? `[${host}]` : host}:${number}`;
  if (kind === 'stun') return { kind, text: `stun:${place}`, expires: until };
  if (!isCredential(username) || !isCredential(password)) return undefined;
  const login = `${encodeURIComponent(username)}:${encodeURIComponent(password)}`;
  return { kind, text: `turn:${login}@${place}`, expires: until };
}

type Attributes = Partial<Record<'type' | 'transport' | 'host' | 'port' | 'username' | 'password' | 'expires', string>>;

const isCredential = (text: string | undefined): text is string =>
  text !== undefined && text.length > 0 && text.length <= MAX_CREDENTIAL_LENGTH && /^[\x21-\x7e]+$/.test(text);
