/** Signed text: any text goes through, nothing else does, and unsound keys sign nothing. */
import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isSignedBy, isSoundKey, signText, unverifiedText } from '../../../src/trust/signed.ts';
import { newDevice } from '../../harness/circle.ts';

const anna = newDevice();
const anyText = fc.string({ unit: 'binary', maxLength: 200 });

test('any text goes through as it is', { timeout: 60_000 }, () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const signed = signText(anna, 'hello', text);
      expect(unverifiedText(signed)).toBe(text);
      expect(isSignedBy(anna.key, 'hello', signed)).toBe(true);
    }),
  );
});

test('no changed, missing or added character passes', { timeout: 60_000 }, () => {
  fc.assert(
    fc.property(anyText, fc.nat(), fc.string({ unit: 'binary', maxLength: 1 }), (text, at, other) => {
      const signed = signText(anna, 'hello', text);
      const place = at % (signed.length + 1);
      const changed = signed.slice(0, place) + other + signed.slice(place + 1);
      fc.pre(changed !== signed);
      expect(isSignedBy(anna.key, 'hello', changed)).toBe(false);
    }),
    { numRuns: 500 },
  );
});

test('a signature of one domain is worthless in another, and so is one of another key', () => {
  const signed = signText(anna, 'hello', 'x');
  expect(isSignedBy(anna.key, 'envelope', signed)).toBe(false);
  expect(isSignedBy(newDevice().key, 'hello', signed)).toBe(false);
});

test('two texts with the same bytes do not share a signature', () => {
  const signed = signText(anna, 'hello', 'a\ufffdb');
  expect(isSignedBy(anna.key, 'hello', signed)).toBe(true);
  expect(isSignedBy(anna.key, 'hello', signed.replace('\ufffd', '\ud800'))).toBe(false);
});

/** All encodings of the eight points of small order, canonical or not (ed25519 "Taming the many EdDSAs", table 6, and libsodium's list). */
const SMALL_ORDER = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0000000000000000000000000000000000000000000000000000000000000080',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000080',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
];

test.for(SMALL_ORDER)('no key of small order: %s', (hex) => {
  const key = Buffer.from(hex, 'hex').toString('base64url');
  expect(isSoundKey(key)).toBe(false);
  // R is the point, S is zero: under such a key this fits a part of all texts, or every one.
  const signature = Buffer.concat([Buffer.from(hex, 'hex'), Buffer.alloc(32)]).toString('base64url');
  for (let text = 0; text < 32; text++) expect(isSignedBy(key, 'hello', `${signature}.${text}`)).toBe(false);
});

test('a key has one spelling below the prime of its field', () => {
  for (let low = 0xed; low <= 0xff; low++) {
    for (const high of [0x7f, 0xff]) {
      const bytes = Buffer.alloc(32, 0xff);
      bytes[0] = low;
      bytes[31] = high;
      expect(isSoundKey(bytes.toString('base64url'))).toBe(false);
    }
  }
  const { publicKey } = generateKeyPairSync('ed25519');
  const key = publicKey.export({ format: 'jwk' }).x ?? '';
  expect(isSoundKey(key)).toBe(true);
  // The last of 43 characters holds four bits: its neighbours in the alphabet decode to the same bytes.
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const neighbour = `${key.slice(0, 42)}${alphabet[alphabet.indexOf(key[42]!) + 1]}`;
  expect(Buffer.from(neighbour, 'base64url')).toEqual(Buffer.from(key, 'base64url'));
  expect(isSoundKey(neighbour)).toBe(false);
  for (const wrong of ['', key.slice(1), `${key}A`, `${key}=`, ` ${key.slice(1)}`])
    expect(isSoundKey(wrong)).toBe(false);
});
