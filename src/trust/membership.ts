/** Who belongs to a room, signed by whoever invites into it: certificates of members, and the list of those who were thrown out. */
import { KithError } from '../base/errors.ts';
import { asciiJson } from '../base/ascii.ts';
import { parseJson, parser, type Parse } from '../base/validate.ts';
import type { Device } from './device.ts';
import { isSignedBy, KEY_PATTERN, signText, unverifiedText, type Domain } from './signed.ts';

/** "This device of this account is a member of this room." */
export interface Certificate {
  readonly room: string;
  readonly device: string;
  /** Bare JID. */
  readonly account: string;
  /** Key of the inviter. */
  readonly by: string;
  /** Milliseconds since 1970. */
  readonly since: number;
  readonly until: number;
}

/** "These devices are members no more." The highest epoch counts. */
export interface Bans {
  readonly room: string;
  readonly by: string;
  readonly epoch: number;
  readonly banned: readonly string[];
}

/** "That device is mine, too." Signed by a device which the reader knows already. */
export interface Vouch {
  readonly device: string;
  readonly by: string;
}

export const MAX_BANNED = 200;
/** 200 keys of 46 characters and the rest. */
const MAX_STATEMENT_BYTES = 12_288;
/** A member comes back within a week or asks its inviter anew, which happens by itself. */
export const CERTIFICATE_MS = 7 * 86_400_000;

const key = { type: 'string', pattern: KEY_PATTERN };
const jid = { type: 'string', minLength: 3, maxLength: 1024 };
const time = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const record = (properties: Record<string, unknown>) => ({
  type: 'object',
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
});

const parseCertificate = parser<Certificate>(
  'certificate',
  'trust.certificate',
  record({ room: jid, device: key, account: jid, by: key, since: time, until: time }),
);
const parseBans = parser<Bans>(
  'list of bans',
  'trust.bans',
  record({
    room: jid,
    by: key,
    epoch: { type: 'integer', minimum: 1, maximum: 1e9 },
    banned: { type: 'array', maxItems: MAX_BANNED, items: key },
  }),
);
const parseVouch = parser<Vouch>('vouch', 'trust.vouch', record({ device: key, by: key }));

export const signCertificate = (device: Device, body: Omit<Certificate, 'by'>): string =>
  signText(device, 'member', asciiJson({ ...body, by: device.key }));

export const signBans = (device: Device, body: Omit<Bans, 'by'>): string =>
  signText(device, 'bans', asciiJson({ ...body, by: device.key }));

export const signVouch = (device: Device, other: string): string =>
  signText(device, 'vouch', asciiJson({ device: other, by: device.key }));

/** Well formed, perhaps forged: to see cheaply whether it is worth a verification. */
export const readBans = (signed: string): Bans =>
  parseBans(parseJson('statement', 'trust.bans', unverifiedText(signed), MAX_STATEMENT_BYTES));

/** Which list of bans somebody claims to know: whoever claims one that he does not know is not told of ours. */
export function epochIn(signed: string | undefined, room: string, inviter: string | undefined): number {
  if (signed === undefined) return 0;
  try {
    const list = readBans(signed);
    return list.room === room && list.by === inviter ? list.epoch : 0;
  } catch {
    return 0;
  }
}

/** Throws a KithError unless it is well formed and signed by the key that it names; whether that key counts is the reader's affair. */
export const openCertificate = (signed: string): Certificate => open('member', parseCertificate, signed);
export const openBans = (signed: string): Bans => open('bans', parseBans, signed);
export const openVouch = (signed: string): Vouch => open('vouch', parseVouch, signed);

function open<T extends { readonly by: string }>(domain: Domain, parse: Parse<T>, signed: string): T {
  const body = parse(parseJson('statement', `trust.${domain}`, unverifiedText(signed), MAX_STATEMENT_BYTES));
  if (isSignedBy(body.by, domain, signed)) return body;
  throw new KithError({
    code: 'trust.signature',
    message: 'the signature is not that of the key it names',
    retry: 'never',
  });
}

/** Why this certificate does not make that device a member; undefined if it does. */
export function notMember(
  certificate: Certificate,
  facts: {
    readonly room: string;
    readonly device: string;
    readonly account: string;
    readonly now: number;
    readonly skewMs: number;
  },
): string | undefined {
  if (certificate.room !== facts.room) return 'its certificate is for another room';
  if (certificate.device !== facts.device) return 'its certificate is for another device';
  if (certificate.account !== facts.account) return 'its certificate is for another account';
  if (certificate.until < facts.now - facts.skewMs) return 'its certificate has expired';
  if (certificate.since > facts.now + facts.skewMs) return 'its certificate is not valid yet';
  return undefined;
}
