/** A new Ed25519 key pair for the master guest, in OpenSSH's formats (openssh PROTOCOL.key; RFC 8709), which dropbear converts too. */
import { generateKeyPair, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';

export interface SshKey {
  /** `ssh-ed25519 AAAA… kith`, one line without a line break. */
  readonly publicKey: string;
  /** `-----BEGIN OPENSSH PRIVATE KEY-----…`, without a passphrase. */
  readonly privateKey: string;
}

const TYPE = 'ssh-ed25519';
const COMMENT = 'kith';
/** The cipher `none` has blocks of eight bytes. */
const BLOCK = 8;

export async function generateSshKey(): Promise<SshKey> {
  const { privateKey } = await promisify(generateKeyPair)('ed25519');
  const { d = '', x = '' } = privateKey.export({ format: 'jwk' });
  const seed = Buffer.from(d, 'base64url');
  const point = Buffer.from(x, 'base64url');
  const publicBlob = Buffer.concat([text(TYPE), text(point)]);
  const check = randomBytes(4);
  const inner = Buffer.concat([check, check, publicBlob, text(Buffer.concat([seed, point])), text(COMMENT)]);
  const padding = Buffer.from(Array.from({ length: -inner.length & (BLOCK - 1) }, (_, index) => index + 1));
  const outer = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    text('none'),
    text('none'),
    text(''),
    Buffer.from([0, 0, 0, 1]),
    text(publicBlob),
    text(Buffer.concat([inner, padding])),
  ]);
  const lines = outer.toString('base64').match(/.{1,70}/g) ?? [];
  return {
    publicKey: `${TYPE} ${publicBlob.toString('base64')} ${COMMENT}`,
    privateKey: ['-----BEGIN OPENSSH PRIVATE KEY-----', ...lines, '-----END OPENSSH PRIVATE KEY-----', ''].join('\n'),
  };
}

/** A string of the SSH protocol (RFC 4251, section 5): length, then bytes. */
function text(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
