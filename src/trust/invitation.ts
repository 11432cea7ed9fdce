/** An invitation: everything a friend needs to reach the room and to know whom to trust there, as one signed line of text. */
import { asciiJson } from '../base/ascii.ts';
import { KithError } from '../base/errors.ts';
import { parseJson, parser } from '../base/validate.ts';
import type { Device } from './device.ts';
import { isSignedBy, KEY_PATTERN, signText, unverifiedText } from './signed.ts';

export interface Invitation {
  readonly version: 2;
  /** Where to connect by direct TLS (XEP-0368). */
  readonly host: string;
  readonly port: number;
  /** XMPP domain of accounts on that server. */
  readonly domain: string;
  /** SHA-256 of the server's certificate, `AB:CD:…` as Node's `fingerprint256`. */
  readonly fingerprint: string;
  /** Room, bare JID. */
  readonly room: string;
  /** Lets in-band registration (XEP-0077, XEP-0445) create an account, and the inviter give a certificate. */
  readonly token: string;
  /** The server's limit per connection in bytes per second; peers pace themselves below it. */
  readonly bytesPerSecond: number;
  /** Public key of the inviter's device, which has signed this. */
  readonly inviter: string;
  /** What the inviter calls himself. */
  readonly nick: string;
  /** Milliseconds since 1970. */
  readonly expires: number;
  /** How many devices it lets in. */
  readonly uses: number;
}

const PREFIX = 'kith:';
/** Names of the longest kind and all else. A QR code holds 2953 bytes; a usual link has 430. */
const MAX_LINE = 4096;
const HINT = 'ask your friend to send it again';

/** In this order, without their names: so the QR code fits a terminal of 80 columns. */
const FIELDS: readonly (keyof Invitation)[] = [
  ...(['version', 'host', 'port', 'domain', 'fingerprint', 'room', 'token', 'bytesPerSecond'] as const),
  ...(['inviter', 'nick', 'expires', 'uses'] as const),
];

const text = (maxLength: number) => ({ type: 'string', minLength: 1, maxLength });
const parseValues = parser<readonly unknown[]>('the invitation', 'invitation.damaged', {
  type: 'array',
  minItems: FIELDS.length,
  maxItems: FIELDS.length,
});
const parseBody = parser<Invitation>('the invitation', 'invitation.damaged', {
  type: 'object',
  additionalProperties: false,
  required: [...FIELDS],
  properties: {
    version: { const: 2 },
    host: text(255),
    port: { type: 'integer', minimum: 1, maximum: 65_535 },
    domain: text(255),
    fingerprint: { type: 'string', pattern: '^([0-9A-F]{2}:){31}[0-9A-F]{2}$' },
    room: { type: 'string', minLength: 3, maxLength: 512, pattern: '^[^@/\\s]+@[^@/\\s]+$' },
    token: { type: 'string', pattern: '^[A-Za-z0-9_-]{8,64}$' },
    bytesPerSecond: { type: 'integer', minimum: 1000, maximum: 1e9 },
    inviter: { type: 'string', pattern: KEY_PATTERN },
    nick: text(64),
    expires: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
    uses: { type: 'integer', minimum: 1, maximum: 1_000_000 },
  },
});

/** `device` must be the inviter's. */
export function encodeInvitation(device: Device, body: Omit<Invitation, 'version' | 'inviter'>): string {
  const hash = Buffer.from(body.fingerprint.replaceAll(':', ''), 'hex').toString('base64url');
  const invitation: Invitation = { version: 2, ...body, fingerprint: hash, inviter: device.key };
  const signed = signText(device, 'invitation', asciiJson(FIELDS.map((field) => invitation[field])));
  return PREFIX + Buffer.from(signed).toString('base64url');
}

/**
 * Errors: `invitation.not-one`, `invitation.old`, `invitation.damaged` (a changed bit anywhere), `invitation.expired`. Without `now`
 * an expired one is read, too: by those who are members already, and to revoke it.
 */
export function decodeInvitation(line: string, now?: number): Invitation {
  const link = line.trim();
  if (!link.startsWith(PREFIX) || link.length > MAX_LINE) throw notOne();
  const code = link.slice(PREFIX.length);
  const signed = Buffer.from(code, 'base64url').toString('utf8');
  // The one spelling: stray characters and unused bits, which the decoder passes over, count as damage, too.
  if (Buffer.from(signed).toString('base64url') !== code) throw damaged();
  if (isVersion1(signed)) throw old();
  const invitation = read(signed);
  if (!isSignedBy(invitation.inviter, 'invitation', signed)) throw damaged();
  if (now !== undefined && invitation.expires <= now) throw expired(invitation, now);
  return invitation;
}

function read(signed: string): Invitation {
  try {
    const values = parseValues(parseJson('the invitation', 'invitation.damaged', unverifiedText(signed), MAX_LINE));
    const named = Object.fromEntries(FIELDS.map((field, at) => [field, values[at]]));
    const hash = Buffer.from(String(named['fingerprint']), 'base64url').toString('hex').toUpperCase();
    return parseBody({ ...named, fingerprint: hash.match(/../g)?.join(':') ?? '' });
  } catch (cause) {
    throw damaged(cause);
  }
}

/** Those were JSON without a signature. */
const isVersion1 = (text: string): boolean => text.startsWith('{"version":1,');

const notOne = () =>
  new KithError({
    code: 'invitation.not-one',
    message: 'this is not a Kith invitation',
    hint: 'ask your friend for the whole line that starts with kith:',
    retry: 'never',
  });

const old = () =>
  new KithError({
    code: 'invitation.old',
    message: 'this invitation is from an older Kith and names no key of your friend',
    hint: 'ask your friend to update Kith and to invite you anew',
    retry: 'never',
  });

const damaged = (cause?: unknown) =>
  new KithError({
    code: 'invitation.damaged',
    message: 'the invitation was damaged or tampered with on its way',
    hint: HINT,
    retry: 'never',
    cause,
  });

const expired = ({ nick, expires }: Invitation, now: number) =>
  new KithError({
    code: 'invitation.expired',
    message: `the invitation of ${nick} has expired ${new Date(expires).toISOString()} (it is ${new Date(now).toISOString()} here)`,
    hint: 'ask your friend for a new one; if the time here is wrong, set your clock',
    retry: 'never',
  });
