/** Secrecy from end to end: HPKE (RFC 9180) with X25519, HKDF-SHA256 and AES-256-GCM. The only importer of @hpke/core. */
import type { webcrypto } from 'node:crypto';
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';

const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });

/** Made anew by each process and at each ban: what was sealed for it is lost with it. */
export interface BoxKey {
  /** The public half, base64url. */
  readonly key: string;
  readonly pair: webcrypto.CryptoKeyPair;
}

export interface Sealed {
  /** The sender's one-time public key, base64url. */
  readonly enc: string;
  /** Base64: it is the bulk of a message. */
  readonly box: string;
}

export async function createBoxKey(): Promise<BoxKey> {
  const pair = await suite.kem.generateKeyPair();
  return { key: toText(await suite.kem.serializePublicKey(pair.publicKey)), pair };
}

/** `info` binds the box to its purpose: it opens under equal info alone. */
export async function sealBox(to: string, info: string, text: string): Promise<Sealed> {
  const recipientPublicKey = await publicKey(to);
  const { enc, ct } = await suite.seal({ recipientPublicKey, info: bytes(info) }, bytes(text));
  return { enc: toText(enc), box: Buffer.from(ct).toString('base64') };
}

/** Rejects when it was not sealed for this key and info, or was changed. */
export async function openBox(own: BoxKey, info: string, { enc, box }: Sealed): Promise<string> {
  const ct = Buffer.from(box, 'base64');
  const text = await suite.open(
    { recipientKey: own.pair, enc: arrayBuffer(Buffer.from(enc, 'base64url')), info: bytes(info) },
    arrayBuffer(ct),
  );
  return Buffer.from(text).toString('utf8');
}

/** 32 bytes that sender and receiver share and nobody else can know (RFC 9180, 5.1.3 and 5.3): both ends are authenticated. */
export async function shareSecret(own: BoxKey, to: string, info: string): Promise<{ enc: string; secret: Uint8Array }> {
  const context = await suite.createSenderContext({
    recipientPublicKey: await publicKey(to),
    senderKey: own.pair,
    info: bytes(info),
  });
  return { enc: toText(context.enc), secret: new Uint8Array(await context.export(bytes('kith:0 frames'), 32)) };
}

export async function receiveSecret(own: BoxKey, from: string, info: string, enc: string): Promise<Uint8Array> {
  const context = await suite.createRecipientContext({
    recipientKey: own.pair,
    senderPublicKey: await publicKey(from),
    enc: arrayBuffer(Buffer.from(enc, 'base64url')),
    info: bytes(info),
  });
  return new Uint8Array(await context.export(bytes('kith:0 frames'), 32));
}

const publicKey = (key: string): Promise<webcrypto.CryptoKey> =>
  suite.kem.deserializePublicKey(arrayBuffer(Buffer.from(key, 'base64url')));
const bytes = (text: string): ArrayBuffer => arrayBuffer(Buffer.from(text, 'utf8'));
const toText = (buffer: ArrayBuffer): string => Buffer.from(buffer).toString('base64url');

/** A copy of its own: a Buffer may be a view into the pool. */
function arrayBuffer(view: Uint8Array): ArrayBuffer {
  const copy = new ArrayBuffer(view.byteLength);
  new Uint8Array(copy).set(view);
  return copy;
}
