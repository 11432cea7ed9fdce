/** SCRAM (RFC 5802, RFC 7677), pure: what a client says, and the proof it demands from the server in return. */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';
import { KithError } from '../base/errors.ts';

export interface Scram {
  /** client-first-message */
  readonly first: string;
  /** server-first-message to client-final-message. */
  answer(serverFirst: string): Promise<string>;
  /** Throws unless the server-final-message proves that the server knows the password too. */
  verify(serverFinal: string): void;
}

const HASHES = { 'SCRAM-SHA-256': ['sha256', 32], 'SCRAM-SHA-1': ['sha1', 20] } as const;
export type Mechanism = keyof typeof HASHES;
/** Best first. PLAIN is not among them, whatever the server offers. */
export const MECHANISMS = Object.keys(HASHES) as readonly Mechanism[];

/** RFC 5802 5.1 asks for 4096; fewer make the proof a gift to whoever wants to guess the password. */
const MIN_ITERATIONS = 4096;
/** About 0.3 s of hashing; more would let a server keep us busy. */
const MAX_ITERATIONS = 1_000_000;

const derive = promisify(pbkdf2);

export function createScram(options: {
  readonly mechanism: Mechanism;
  readonly username: string;
  readonly password: string;
  readonly nonce?: string;
}): Scram {
  const [hash, length] = HASHES[options.mechanism];
  const nonce = options.nonce ?? randomBytes(18).toString('base64');
  const name = options.username.replace(/=/g, '=3D').replace(/,/g, '=2C');
  const bare = `n=${name},r=${nonce}`;
  const mac = (key: Buffer, text: string) => createHmac(hash, key).update(text).digest();
  let expected: Buffer | undefined;
  return {
    first: `n,,${bare}`,
    async answer(serverFirst) {
      const { r: joint = '', s: salt = '', i = '' } = attributes(serverFirst);
      const iterations = /^\d{1,9}$/.test(i) ? Number(i) : Number.NaN;
      if (!joint.startsWith(nonce) || joint === nonce) throw dishonest('it did not add to our nonce');
      if (!(iterations >= MIN_ITERATIONS && iterations <= MAX_ITERATIONS))
        throw dishonest(`it asks for ${i.slice(0, 12)} iterations`);
      const salted = await derive(
        options.password.normalize('NFKC'),
        Buffer.from(salt, 'base64'),
        iterations,
        length,
        hash,
      );
      const key = mac(salted, 'Client Key');
      const final = `c=biws,r=${joint}`;
      const message = `${bare},${serverFirst},${final}`;
      const signature = mac(createHash(hash).update(key).digest(), message);
      expected = mac(mac(salted, 'Server Key'), message);
      return `${final},p=${Buffer.from(key.map((byte, index) => byte ^ (signature[index] ?? 0))).toString('base64')}`;
    },
    verify(serverFinal) {
      const given = Buffer.from(attributes(serverFinal)['v'] ?? '', 'base64');
      if (!expected || given.length !== expected.length || !timingSafeEqual(given, expected)) {
        throw dishonest('it cannot prove that it knows the password');
      }
    },
  };
}

function attributes(message: string): Partial<Record<string, string>> {
  return Object.fromEntries(message.split(',').map((part) => [part.slice(0, 1), part.slice(2)]));
}

const dishonest = (why: string) =>
  new KithError({
    code: 'xmpp.server-not-authentic',
    message: `the server failed the login: ${why}`,
    hint: 'do not use this server; ask for a new invitation',
    retry: 'never',
  });
