/** Certificates, lists of bans and vouches: whose they are, and for whom. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KithError } from '../../../src/base/errors.ts';
import {
  epochIn,
  MAX_BANNED,
  notMember,
  openBans,
  openCertificate,
  openVouch,
  signBans,
  signCertificate,
  signVouch,
} from '../../../src/trust/membership.ts';
import { newDevice, ROOM } from '../../harness/circle.ts';

const inviter = newDevice();
const anna = newDevice().key;
const NOW = Date.parse('2026-06-01T12:00:00Z');
const MINUTE = 60_000;
const skewMs = 5 * MINUTE;
const certificate = {
  room: ROOM,
  device: anna,
  account: 'anna@host.test',
  since: NOW - MINUTE,
  until: NOW + MINUTE,
};
const facts = { room: ROOM, device: anna, account: 'anna@host.test', now: NOW, skewMs };

test('a certificate names one device of one account in one room', () => {
  const opened = openCertificate(signCertificate(inviter, certificate));
  expect(opened).toEqual({ ...certificate, by: inviter.key });
  expect(notMember(opened, facts)).toBeUndefined();
});

test.for([
  ['room', { room: 'other@rooms.test' }, 'another room'],
  ['device', { device: newDevice().key }, 'another device'],
  ['account', { account: 'ben@host.test' }, 'another account'],
  ['a time before', { now: NOW - MINUTE - skewMs - 1 }, 'not valid yet'],
  ['a time after', { now: NOW + MINUTE + skewMs + 1 }, 'expired'],
] as const)('it is worth nothing for another %s', ([, more, why]) => {
  expect(notMember({ ...certificate, by: inviter.key }, { ...facts, ...more })).toContain(why);
});

test('clocks that differ by five minutes do no harm', () => {
  for (const now of [NOW - MINUTE - skewMs, NOW + MINUTE + skewMs])
    expect(notMember({ ...certificate, by: inviter.key }, { ...facts, now })).toBeUndefined();
});

const statements = [
  ['a certificate', signCertificate(inviter, certificate), openCertificate],
  ['a list of bans', signBans(inviter, { room: ROOM, epoch: 1, banned: [anna] }), openBans],
  ['a vouch', signVouch(inviter, anna), openVouch],
] as const;

test.for(statements)('%s with a changed character is refused', ([, signed, open]) => {
  fc.assert(
    fc.property(
      fc.nat({ max: signed.length - 1 }),
      fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 1 }),
      (at, other) => {
        fc.pre(signed[at] !== other);
        expect(() => open(signed.slice(0, at) + other + signed.slice(at + 1))).toThrow(KithError);
      },
    ),
    { numRuns: 300 },
  );
});

const pairs = statements.flatMap(([kind, signed]) =>
  statements.filter(([other]) => other !== kind).map(([other, , open]) => [kind, other, signed, open] as const),
);

test.for(pairs)('%s does not pass for %s', ([, , signed, open]) => {
  expect(() => open(signed)).toThrow(KithError);
});

test('the longest list of bans fits, a longer one is refused', () => {
  const banned = Array.from({ length: MAX_BANNED }, () => newDevice().key);
  expect(openBans(signBans(inviter, { room: ROOM, epoch: 1e9, banned })).banned).toEqual(banned);
  expect(() => openBans(signBans(inviter, { room: ROOM, epoch: 1, banned: [...banned, anna] }))).toThrow(KithError);
});

test('which list somebody knows counts for this room and its inviter alone', () => {
  const signed = signBans(inviter, { room: ROOM, epoch: 7, banned: [] });
  expect(epochIn(signed, ROOM, inviter.key)).toBe(7);
  for (const [text, room, by] of [
    [signed, 'other@rooms.test', inviter.key],
    [signed, ROOM, anna],
    [signed, ROOM, undefined],
    ['nonsense', ROOM, inviter.key],
    [undefined, ROOM, inviter.key],
  ] as const)
    expect(epochIn(text, room, by)).toBe(0);
});
