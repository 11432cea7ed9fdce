/** Six words for a pair of keys. */
import { expect, test } from 'vitest';
import { wordsOf } from '../../../src/trust/words.ts';
import { newDevice } from '../../harness/circle.ts';

test('both sides read the same six words, and others for another key', { timeout: 60_000 }, async () => {
  const [anna, ben, mallory] = [newDevice().key, newDevice().key, newDevice().key];
  const words = await wordsOf(anna, ben);
  expect(words).toHaveLength(6);
  for (const word of words) expect(word).toMatch(/^[a-z]{3,8}$/);
  expect(await wordsOf(ben, anna)).toEqual(words);
  expect(await wordsOf(anna, mallory)).not.toEqual(words);
});

test('the words of two known keys', { timeout: 60_000 }, async () => {
  const words = await wordsOf('A'.repeat(43), `${'A'.repeat(42)}E`);
  expect(words.join(' ')).toMatchInlineSnapshot(`"logic work tag effort tone other"`);
});
