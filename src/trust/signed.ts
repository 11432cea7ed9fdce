/** Signed text: a signature, a dot, and exactly the text that was signed, in one of a few separate domains. */
import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import type { Device } from './device.ts';

/** What a signature is for. One of one domain is worthless in another. */
export type Domain = 'hello' | 'envelope' | 'invitation' | 'member' | 'bans' | 'vouch' | 'note';

/** Keys and signatures in base64url without padding (RFC 4648, 5), in their one canonical form. */
export const KEY_PATTERN = '^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$';
const SIGNATURE = /^[A-Za-z0-9_-]{85}[AQgw]$/;
const SIGNATURE_LENGTH = 86;

const toSign = (domain: Domain, text: string): Buffer => Buffer.from(`kith:0 ${domain}\n${text}`);

/** `text` is well-formed Unicode. */
export function signText(device: Device, domain: Domain, text: string): string {
  return `${Buffer.from(device.sign(toSign(domain, text))).toString('base64url')}.${text}`;
}

/** The text without its signature, which may be wrong: to see who claims to have signed it. */
export function unverifiedText(signed: string): string {
  return signed.slice(SIGNATURE_LENGTH + 1);
}

/** Never throws. */
export function isSignedBy(key: string, domain: Domain, signed: string): boolean {
  const signature = signed.slice(0, SIGNATURE_LENGTH);
  if (!SIGNATURE.test(signature) || signed[SIGNATURE_LENGTH] !== '.') return false;
  const text = unverifiedText(signed);
  const known = publicKey(key);
  // Half a surrogate pair has the bytes of U+FFFD: two texts would have one signature.
  if (!known || !text.isWellFormed()) return false;
  return verify(null, toSign(domain, text), known, Buffer.from(signature, 'base64url'));
}

const bytesToSign = (domain: Domain, bytes: Uint8Array): Buffer =>
  Buffer.concat([Buffer.from(`kith:0 ${domain}\n`), bytes]);

/** 64 bytes, apart from what was signed. */
export const signBytes = (device: Device, domain: Domain, bytes: Uint8Array): Uint8Array =>
  device.sign(bytesToSign(domain, bytes));

/** Never throws. */
export function areBytesSignedBy(key: string, domain: Domain, bytes: Uint8Array, signature: Uint8Array): boolean {
  const known = publicKey(key);
  return known !== undefined && verify(null, bytesToSign(domain, bytes), known, signature);
}

/** Parsed keys of the last senders: parsing costs half as much as a verification. */
const parsed = new Map<string, KeyObject>();
const MAX_PARSED = 512;
const KEY = new RegExp(KEY_PATTERN);

function publicKey(key: string): KeyObject | undefined {
  const known = parsed.get(key);
  if (known) return known;
  if (!isSoundKey(key)) return undefined;
  try {
    const fresh = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: key }, format: 'jwk' });
    if (parsed.size >= MAX_PARSED) parsed.delete(parsed.keys().next().value ?? '');
    parsed.set(key, fresh);
    return fresh;
  } catch {
    return undefined;
  }
}

/** The points of small order (RFC 7748, 7; RFC 8032, 5.1.7): under such a key a signature fits every text. The sign bit is left out. */
const SMALL_ORDER = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
]);

/** A key in its one encoding, below the field's prime and of large order. */
export function isSoundKey(key: string): boolean {
  if (!KEY.test(key)) return false;
  const bytes = Buffer.from(key, 'base64url');
  bytes[31] = (bytes[31] ?? 0) & 0x7f;
  const aboveField = bytes[31] === 0x7f && bytes[0]! >= 0xed && bytes.subarray(1, 31).every((byte) => byte === 0xff);
  return !aboveField && !SMALL_ORDER.has(bytes.toString('hex'));
}
