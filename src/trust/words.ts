/** Six words that two people read to each other: equal on both machines if and only if both have the right keys. */
import { scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { wordlist } from '@scure/bip39/wordlists/english.js';

/**
 * 6 of 2048 are 66 bits, but whoever sits in between needs no more than two keys of his, one for each side, whose words collide: 2^34
 * tries, some hours. So each try is made to cost half a second and 128 MiB (RFC 7914, with the first parameters that OWASP names):
 * centuries of one core. Both keys go into one derivation: words of a single key could be tried against all peers at once.
 */
const WORDS = 6;
const BITS = 11;
const COST = { N: 2 ** 17, r: 8, p: 1, maxmem: 2 ** 28 };

const derive = promisify((keys: string, done: (error: Error | null, derived: Buffer) => void) =>
  scrypt(keys, 'kith:0 words', 16, COST, done),
);

/** Keys in any order. */
export async function wordsOf(one: string, other: string): Promise<string[]> {
  const digest = await derive([one, other].toSorted().join('\n'));
  const bits = BigInt(`0x${digest.toString('hex')}`) >> BigInt(128 - WORDS * BITS);
  return Array.from({ length: WORDS }, (_, at) => {
    const index = Number((bits >> BigInt((WORDS - 1 - at) * BITS)) & 2047n);
    return wordlist[index] ?? '';
  });
}
