/** The line that a friend gets: what it carries comes back, and not one changed bit passes. */
import { generateKeyPairSync, sign } from 'node:crypto';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { errorCode } from '../../../src/base/errors.ts';
import { decodeInvitation, encodeInvitation, type Invitation } from '../../../src/trust/invitation.ts';
import type { Device } from '../../../src/trust/device.ts';

function device(): Device {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const { x = '' } = publicKey.export({ format: 'jwk' });
  return { key: x, sign: (bytes) => sign(null, bytes, privateKey) };
}

const ann = device();
const body: Omit<Invitation, 'version' | 'inviter'> = {
  host: '192.0.2.10',
  port: 5223,
  domain: 'kith.internal',
  fingerprint: Array.from({ length: 32 }, () => 'AB').join(':'),
  room: 'friends@rooms.kith.internal',
  token: '0123456789abcdef0123456789abcdef',
  bytesPerSecond: 1_000_000,
  nick: 'Änn',
  expires: 2_000_000_000_000,
  uses: 1,
};
const line = encodeInvitation(ann, body);

const outcome = (text: string, now?: number) => {
  try {
    return decodeInvitation(text, now);
  } catch (error) {
    return errorCode(error);
  }
};

test('what goes in comes out, with white space around it', () => {
  expect(outcome(`  ${line}\n`)).toEqual({ version: 2, ...body, inviter: ann.key });
  expect(line).toMatch(/^kith:[A-Za-z0-9_-]+$/);
  expect(line.length).toBeLessThanOrEqual(520); // a QR code of 77 modules, and a margin, in 80 columns
});

test('no flipped bit anywhere passes', () => {
  const bytes = Buffer.from(line, 'latin1');
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    const text = flipped.toString('latin1');
    // The prefix says what it is; white space at the end is not part of it.
    if (text.trim().length < line.length) continue;
    expect([bit, outcome(text)]).toEqual([bit, bit < 5 * 8 ? 'invitation.not-one' : 'invitation.damaged']);
  }
});

test('nothing cut off, doubled or put in between passes', () => {
  fc.assert(
    fc.property(
      fc.nat({ max: line.length }),
      fc.nat({ max: line.length }),
      fc.string({ maxLength: 8 }),
      (from, to, put) => {
        const text = line.slice(0, from) + put + line.slice(to);
        fc.pre(text.trim() !== line);
        expect(['invitation.damaged', 'invitation.not-one', 'invitation.old']).toContain(outcome(text));
      },
    ),
  );
});

test('what somebody else signed in her name, or for another purpose, is damaged', () => {
  const mallory = device();
  const inHerName = encodeInvitation({ key: ann.key, sign: (bytes) => mallory.sign(bytes) }, body);
  expect(outcome(inHerName)).toBe('invitation.damaged');
  const signed = Buffer.from(line.slice(5), 'base64url').toString();
  const text = signed.slice(87);
  const other = Buffer.from(ann.sign(Buffer.from(`kith:0 vouch\n${text}`))).toString('base64url');
  expect(outcome(`kith:${Buffer.from(`${other}.${text}`).toString('base64url')}`)).toBe('invitation.damaged');
});

test('a late one is refused at once, except for those who only look into it', () => {
  expect(outcome(line, body.expires - 1)).toMatchObject({ room: body.room });
  expect(outcome(line, body.expires)).toBe('invitation.expired');
});

test('a line of the first version says so; anything else is none', () => {
  const first = `kith:${Buffer.from(JSON.stringify({ version: 1, host: 'x' })).toString('base64url')}`;
  expect(outcome(first)).toBe('invitation.old');
  for (const text of ['', 'hello', 'KITH:AAAA', `kith:${'A'.repeat(5000)}`])
    expect(outcome(text)).toBe('invitation.not-one');
});

test('fields out of bounds are refused however well they are signed', () => {
  for (const more of [
    { port: 0 },
    { uses: 0 },
    { room: 'no room' },
    { fingerprint: 'AB' },
    { token: '../../etc/passwd' },
    { nick: '' },
  ])
    expect(outcome(encodeInvitation(ann, { ...body, ...more }))).toBe('invitation.damaged');
});
