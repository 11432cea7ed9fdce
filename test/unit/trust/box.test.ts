/** A box opens for its key and its purpose, and not when a bit of it was changed. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createBoxKey, openBox, receiveSecret, sealBox, shareSecret } from '../../../src/trust/box.ts';

test('any text goes through', { timeout: 60_000 }, async () => {
  const ben = await createBoxKey();
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), async (info, text) => {
      expect(await openBox(ben, info, await sealBox(ben.key, info, text))).toBe(text);
    }),
    { numRuns: 30 },
  );
});

/** The same bits, one of them turned. */
function flip(text: string, encoding: 'base64' | 'base64url', bit: number): string {
  const bytes = Buffer.from(text, encoding);
  const at = bit % (bytes.length * 8);
  bytes[at >>> 3]! ^= 1 << (at & 7);
  return bytes.toString(encoding);
}

test('no changed bit passes', { timeout: 60_000 }, async () => {
  const ben = await createBoxKey();
  const sealed = await sealBox(ben.key, 'x', 'attack at dawn');
  await fc.assert(
    fc.asyncProperty(fc.nat(), async (bit) => {
      const box = flip(sealed.box, 'base64', bit);
      await expect(openBox(ben, 'x', { ...sealed, box })).rejects.toBeInstanceOf(Error);
      const enc = flip(sealed.enc, 'base64url', bit);
      // X25519 takes no notice of the highest bit (RFC 7748, 5), but HPKE derives from all of them.
      await expect(openBox(ben, 'x', { ...sealed, enc })).rejects.toBeInstanceOf(Error);
    }),
    { numRuns: 100 },
  );
});

test('another key, another purpose, a box without its end', async () => {
  const [ben, mallory] = [await createBoxKey(), await createBoxKey()];
  const sealed = await sealBox(ben.key, 'x', 'hello');
  await expect(openBox(mallory, 'x', sealed)).rejects.toBeInstanceOf(Error);
  await expect(openBox(ben, 'y', sealed)).rejects.toBeInstanceOf(Error);
  await expect(openBox(ben, 'x', { ...sealed, box: sealed.box.slice(0, -4) })).rejects.toBeInstanceOf(Error);
  await expect(openBox(ben, 'x', { ...sealed, box: '' })).rejects.toBeInstanceOf(Error);
  expect((await sealBox(ben.key, 'x', 'hello')).box).not.toBe(sealed.box);
});

test('a box key of small order is refused', async () => {
  for (const hex of ['00'.repeat(32), `01${'00'.repeat(31)}`, `ec${'ff'.repeat(30)}7f`])
    await expect(sealBox(Buffer.from(hex, 'hex').toString('base64url'), 'x', 'hello')).rejects.toBeInstanceOf(Error);
});

test('a shared secret is that of two people, one purpose and one key', async () => {
  const [anna, ben, mallory] = [await createBoxKey(), await createBoxKey(), await createBoxKey()];
  const { enc, secret } = await shareSecret(anna, ben.key, 'x');
  expect(await receiveSecret(ben, anna.key, 'x', enc)).toEqual(secret);
  expect((await shareSecret(anna, ben.key, 'x')).secret).not.toEqual(secret);
  const others = [
    receiveSecret(ben, mallory.key, 'x', enc),
    receiveSecret(mallory, anna.key, 'x', enc),
    receiveSecret(ben, anna.key, 'y', enc),
  ];
  for (const other of others) expect(await other).not.toEqual(secret);
});
