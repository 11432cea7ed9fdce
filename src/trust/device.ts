/** The key of this device: one Ed25519 pair per home, made at first use, that signs everything that matters (RFC 8032). */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { link, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KithError } from '../base/errors.ts';

export interface Device {
  /** The public key, 43 characters of base64url: this is who we are. */
  readonly key: string;
  /** Ed25519 over these bytes, 64 bytes. */
  sign(bytes: Uint8Array): Uint8Array;
}

const FILE = 'device.key';

/** `folder` is the state directory of this user. The key is in a file of mode 0600; a file that others can read is refused. */
export async function openDevice(folder: string): Promise<Device> {
  const file = join(folder, FILE);
  return (await load(file)) ?? (await create(folder, file));
}

async function load(file: string): Promise<Device | undefined> {
  let pem: string;
  try {
    const { mode } = await stat(file);
    if ((mode & 0o077) !== 0) {
      throw new KithError({
        code: 'trust.key-mode',
        message: `others can read the key of this device in ${file}`,
        hint: `if nobody has copied it: chmod 600 ${file}; else remove it and tell your friends that your key is new`,
      });
    }
    pem = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    if (error instanceof KithError) throw error;
    throw new KithError({
      code: 'trust.key',
      message: `cannot read the key of this device in ${file}`,
      hint: 'look at its rights',
      cause: error,
    });
  }
  try {
    return deviceOf(pem);
  } catch (cause) {
    throw new KithError({
      code: 'trust.key',
      message: `${file} is not an Ed25519 key`,
      hint: 'restore it from a copy, or remove it and tell your friends that your key is new',
      cause,
    });
  }
}

/** Two processes of one user may start at the same time: the first file wins, and it is never seen half written. */
async function create(folder: string, file: string): Promise<Device> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' });
  const draft = `${file}.${randomBytes(6).toString('hex')}`;
  await writeFile(draft, pem, { mode: 0o600, flag: 'wx' });
  try {
    await link(draft, file);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  } finally {
    await rm(draft, { force: true });
  }
  const device = await load(file);
  if (!device) throw new KithError({ code: 'trust.key', message: `${file} went away`, retry: 'later' });
  return device;
}

function deviceOf(pem: string): Device {
  const key = createPrivateKey(pem);
  if (key.asymmetricKeyType !== 'ed25519') throw new TypeError(`a key of type ${String(key.asymmetricKeyType)}`);
  const { x } = createPublicKey(key).export({ format: 'jwk' });
  if (typeof x !== 'string') throw new TypeError('no public key');
  return { key: x, sign: (bytes) => sign(null, bytes, key) };
}

/** A key as people read it aloud: 128 bits of its SHA-256, `3f2a-90c1-…`. */
export function fingerprintOf(key: string): string {
  const hex = createHash('sha256').update(Buffer.from(key, 'base64url')).digest('hex').slice(0, 32);
  return hex.match(/.{4}/g)?.join('-') ?? hex;
}
