/** Six words that two people read to each other: equal on both machines if and only if both have the right keys. */
import { createHash } from 'node:crypto';
import { wordlist } from '@scure/bip39/wordlists/english.js';

/** 6 of 2048: 66 bits, as many as an attacker would have to grind per pair of keys before he is met. */
const WORDS = 6;
const BITS = 11;

/** Keys in any order. */
export function wordsOf(one: string, other: string): string[] {
  const digest = createHash('sha256')
    .update(`kith:0 words\n${[one, other].toSorted().join('\n')}`)
    .digest('hex');
  const bits = BigInt(`0x${digest}`) >> BigInt(256 - WORDS * BITS);
  return Array.from({ length: WORDS }, (_, at) => {
    const index = Number((bits >> BigInt((WORDS - 1 - at) * BITS)) & 2047n);
    return wordlist[index] ?? '';
  });
}
