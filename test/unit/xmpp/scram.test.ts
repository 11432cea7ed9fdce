/** SCRAM against the published vectors, and against servers that lie. */
import { expect, test } from 'vitest';
import { createScram, MECHANISMS } from '../../../src/xmpp/scram.ts';

const vectors = [
  {
    // RFC 7677 section 3
    mechanism: 'SCRAM-SHA-256',
    nonce: 'rOprNGfwEbeRWgbNEkqO',
    serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
    clientFinal:
      'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
  },
  {
    // RFC 5802 section 5
    mechanism: 'SCRAM-SHA-1',
    nonce: 'fyko+d2lbbFgONRv9qkxdawL',
    serverFirst: 'r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096',
    clientFinal: 'c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=',
    serverFinal: 'v=rmF9pqV8S7suAoZWja4dJRkFsKQ=',
  },
] as const;

test.each(vectors)(
  '$mechanism says what its RFC says',
  async ({ mechanism, nonce, serverFirst, clientFinal, serverFinal }) => {
    const scram = createScram({ mechanism, nonce, username: 'user', password: 'pencil' });
    expect(scram.first).toBe(`n,,n=user,r=${nonce}`);
    expect(await scram.answer(serverFirst)).toBe(clientFinal);
    expect(() => scram.verify(serverFinal)).not.toThrow();
    for (const wrong of ['', 'v=', 'e=other-error', serverFinal.replace('=6', '=7').replace('=r', '=s')]) {
      expect(() => scram.verify(wrong)).toThrow(/cannot prove/);
    }
  },
);

test('SHA-256 is preferred and PLAIN is not in the list', () => {
  expect(MECHANISMS).toEqual(['SCRAM-SHA-256', 'SCRAM-SHA-1']);
});

test('names with the two special characters are escaped', () => {
  expect(createScram({ mechanism: 'SCRAM-SHA-1', nonce: 'x', username: 'a=b,c', password: '' }).first).toBe(
    'n,,n=a=3Db=2Cc,r=x',
  );
});

test.each([
  ['r=other,s=QSXCR+Q6sek8bf92,i=4096', /nonce/],
  ['r=mine,s=QSXCR+Q6sek8bf92,i=4096', /nonce/],
  ['r=mine+,s=QSXCR+Q6sek8bf92,i=4095', /4095 iterations/],
  ['r=mine+,s=QSXCR+Q6sek8bf92,i=1000001', /iterations/],
  ['r=mine+,s=QSXCR+Q6sek8bf92,i=4096e3', /iterations/],
  ['r=mine+,s=QSXCR+Q6sek8bf92', /iterations/],
  ['', /nonce/],
])('a server that starts with %j is left', async (serverFirst, reason) => {
  const scram = createScram({ mechanism: 'SCRAM-SHA-256', nonce: 'mine', username: 'u', password: 'p' });
  await expect(scram.answer(serverFirst)).rejects.toThrow(reason);
});

test('a signature before any proof is refused', () => {
  const scram = createScram({ mechanism: 'SCRAM-SHA-256', username: 'u', password: 'p' });
  expect(() => scram.verify('v=')).toThrow(/cannot prove/);
});
