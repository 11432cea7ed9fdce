/** Self-signed certificates, for peers that pin fingerprints and ask no authority. Node can read X.509 but not write it; the little DER that it takes is here. */
import { createHash, generateKeyPair, randomBytes, sign, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';

export interface Certificate {
  /** PEM, PKCS #8. */
  readonly key: string;
  /** PEM. */
  readonly certificate: string;
  /** SHA-256 over the DER, lower-case hexadecimal. */
  readonly fingerprint: string;
}

/** Tags of ITU-T X.690. */
const TAG = {
  integer: 0x02,
  bits: 0x03,
  oid: 0x06,
  utf8: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
};
/** [0] EXPLICIT; the number of version 3 is 2 (RFC 5280 4.1.2.1). */
const VERSION_3 = tagged(0xa0, tagged(TAG.integer, Buffer.from([2])));
/** 2.5.4.3, commonName. */
const COMMON_NAME = tagged(TAG.oid, Buffer.from([0x55, 0x04, 0x03]));
/** 1.3.101.112, Ed25519 (RFC 8410): small, quick to sign and without parameters. */
const ED25519 = tagged(TAG.sequence, tagged(TAG.oid, Buffer.from([0x2b, 0x65, 0x70])));
/** RFC 5280 4.1.2.5: no well-defined end, since what is pinned is this very certificate; and a start that no slow clock is before. */
const VALID = tagged(
  TAG.sequence,
  tagged(TAG.utcTime, Buffer.from('200101000000Z')),
  tagged(TAG.generalizedTime, Buffer.from('99991231235959Z')),
);

/** A fresh Ed25519 key and its certificate. The name says nothing about who it is: what counts is the fingerprint. */
export async function makeCertificate(name: string): Promise<Certificate> {
  const { privateKey, publicKey } = await promisify(generateKeyPair)('ed25519');
  const der = selfSigned(name, privateKey, publicKey);
  return {
    key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    certificate: pem(der),
    fingerprint: fingerprintOf(der),
  };
}

/** What two ends compare: SHA-256 over the DER of a certificate, lower-case hexadecimal. */
export const fingerprintOf = (der: Uint8Array): string => createHash('sha256').update(der).digest('hex');

/** RFC 5280 4.1: the body, the algorithm, the signature over the body. */
function selfSigned(name: string, privateKey: KeyObject, publicKey: KeyObject): Buffer {
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40; // positive, and never with a needless zero in front
  const who = tagged(
    TAG.sequence,
    tagged(TAG.set, tagged(TAG.sequence, COMMON_NAME, tagged(TAG.utf8, Buffer.from(name)))),
  );
  const body = tagged(
    TAG.sequence,
    VERSION_3,
    tagged(TAG.integer, serial),
    ED25519,
    who,
    VALID,
    who,
    publicKey.export({ format: 'der', type: 'spki' }),
  );
  return tagged(TAG.sequence, body, ED25519, tagged(TAG.bits, Buffer.from([0]), sign(null, body, privateKey)));
}

/** RFC 7468: lines of 64 characters. */
function pem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
}

function tagged(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content]);
  const size = length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}
