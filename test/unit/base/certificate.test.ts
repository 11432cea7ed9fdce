/** Certificates that are made without openssl, read by OpenSSL. */
import { X509Certificate } from 'node:crypto';
import { expect, test } from 'vitest';
import { fingerprintOf, makeCertificate } from '../../../src/base/certificate.ts';

test('a certificate signs itself, has no end that comes, and its key and fingerprint fit', async () => {
  const { key, certificate, fingerprint } = await makeCertificate('kith');
  const read = new X509Certificate(certificate);
  expect(read.subject).toBe('CN=kith');
  expect(read.issuer).toBe('CN=kith');
  expect(read.verify(read.publicKey)).toBe(true);
  expect(read.publicKey.asymmetricKeyType).toBe('ed25519');
  expect(key).toMatch(/^-----BEGIN PRIVATE KEY-----/);
  expect(read.validFromDate.getUTCFullYear()).toBe(2020);
  expect(read.validToDate.getUTCFullYear()).toBe(9999);
  expect(fingerprint).toBe(read.fingerprint256.replaceAll(':', '').toLowerCase());
  expect(fingerprint).toBe(fingerprintOf(read.raw));
});

test('no two are alike, and lengths of one, two and three bytes are written rightly', async () => {
  const names = ['a', 'n'.repeat(60), 'n'.repeat(200), 'n'.repeat(300)];
  const made = await Promise.all(names.flatMap((name) => [makeCertificate(name), makeCertificate(name)]));
  expect(new Set(made.map(({ fingerprint }) => fingerprint)).size).toBe(made.length);
  const read = made.map(({ certificate }) => new X509Certificate(certificate));
  expect(new Set(read.map(({ serialNumber }) => serialNumber)).size).toBe(made.length);
  expect(read.every((each) => each.verify(each.publicKey))).toBe(true);
  expect(read.map(({ subject }) => subject)).toEqual(names.flatMap((name) => [`CN=${name}`, `CN=${name}`]));
});
