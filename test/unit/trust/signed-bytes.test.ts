/** Signatures of bytes: by one key, in one domain, over exactly these. */
import { expect, test } from 'vitest';
import { areBytesSignedBy, isSignedBy, signBytes, signText } from '../../../src/trust/signed.ts';
import { newDevice } from '../../harness/circle.ts';

test('a note counts for the device that signed it, and is nothing else', () => {
  const [anna, ben] = [newDevice(), newDevice()];
  const note = new Uint8Array([1, 2, 3, 0, 255]);
  const signature = signBytes(anna, 'note', note);
  expect(areBytesSignedBy(anna.key, 'note', note, signature)).toBe(true);
  expect(areBytesSignedBy(ben.key, 'note', note, signature)).toBe(false);
  expect(areBytesSignedBy(anna.key, 'envelope', note, signature)).toBe(false);
  expect(areBytesSignedBy(anna.key, 'note', note.subarray(1), signature)).toBe(false);
});

test('whatever is no key or no signature is refused, and nothing throws', () => {
  const anna = newDevice();
  const note = new Uint8Array(10);
  expect(areBytesSignedBy('', 'note', note, signBytes(anna, 'note', note))).toBe(false);
  for (const length of [0, 63, 65, 1000]) {
    expect(areBytesSignedBy(anna.key, 'note', note, new Uint8Array(length))).toBe(false);
  }
});

test('a text of one domain is no note', () => {
  const anna = newDevice();
  const signed = signText(anna, 'hello', 'hi');
  const signature = Buffer.from(signed.split('.')[0]!, 'base64url');
  expect(isSignedBy(anna.key, 'hello', signed)).toBe(true);
  expect(areBytesSignedBy(anna.key, 'note', Buffer.from('hi'), signature)).toBe(false);
});
