/** Whom a peer trusts, and why: first sight, certificates, vouches, compared words; and what somebody gains by mixing them. */
import { expect, test, vi } from 'vitest';
import type { CircleEvents } from '../../../src/trust/circle.ts';
import { signCertificate, signVouch } from '../../../src/trust/membership.ts';
import { certify, newDevice, openCertified, openParty, ROOM, type Party } from '../../harness/circle.ts';

const inviter = newDevice();
const HOUR = 3_600_000;

/** Somebody with a key of his own comes under this account. */
const comes = (victim: Party, like: Party, account: string, more: Parameters<Party['saying']>[0], by = newDevice()) => {
  const jid = `${account}/${by.key}`;
  victim.hears({ jid, says: like.says }, like.saying({ jid, device: by.key, ...more }, by));
  return { jid, device: by.key, member: victim.circle.member(jid) };
};

test('in a room without an inviter the first key under an account is its key', async () => {
  await using anna = await openParty('anna');
  await using ben = await openParty('ben');
  ben.hears(anna);
  expect(ben.circle.member(anna.jid)).toMatchObject({ trust: 'first-sight' });
  const { jid, device, member } = comes(ben, anna, anna.account, {});
  expect(member).toBeUndefined();
  expect(ben.circle.refusal(jid)).toContain('not the one that we know');
  expect(ben.circle.refusedKey(jid)).toBe(device);
});

test('a new key is let in when its owner approves it, and he is told', async () => {
  await using anna = await openParty('anna');
  await using ben = await openParty('ben');
  ben.hears(anna);
  const { jid, device } = comes(ben, anna, anna.account, {});
  const onMember = vi.fn<NonNullable<CircleEvents['onMember']>>();
  ben.circle.listen({ onMember });
  ben.contacts.pin({ device, account: anna.account, nick: 'anna', pin: 'verified', because: 'six words' });
  ben.circle.reconsider();
  expect(onMember).toHaveBeenCalledExactlyOnceWith(jid, expect.objectContaining({ trust: 'verified' }));
  // And put out again when its pin is taken back while another one stands.
  ben.contacts.unpin(device);
  ben.circle.reconsider();
  expect(ben.circle.member(jid)).toBeUndefined();
  expect(ben.circle.member(anna.jid)).toBeDefined();
});

test('a verified friend does not pass under the account of another one', async () => {
  await using anna = await openParty('anna');
  await using mallory = await openParty('mallory');
  await using ben = await openParty('ben');
  for (const other of [anna, mallory]) ben.hears(other);
  const { device } = mallory;
  ben.contacts.pin({ device: device.key, account: mallory.account, nick: 'm', pin: 'verified', because: 'six words' });
  const { jid, member } = comes(ben, mallory, anna.account, {}, device);
  expect(member).toBeUndefined();
  expect(ben.circle.refusal(jid)).toContain('not the one that we know');
});

test('a friend under a new account is nobody in particular there, until somebody says so', async () => {
  await using anna = await openParty('anna');
  await using ben = await openParty('ben');
  ben.hears(anna);
  ben.contacts.pin({ device: anna.device.key, account: anna.account, nick: 'anna', pin: 'verified', because: 'words' });
  expect(comes(ben, anna, 'queen@host.test', {}, anna.device).member).toMatchObject({ trust: 'first-sight' });
  // And that account is hers now: no other key comes under it.
  expect(comes(ben, anna, 'queen@host.test', {}).member).toBeUndefined();
});

test('in a room with an inviter: the inviter, whom it certified, and strangers', async () => {
  await using host = await openParty('host');
  await using ben = await openParty('ben', { inviter: host.device.key });
  await using anna = await openParty('anna');
  ben.hears(host);
  expect(ben.circle.member(host.jid)).toMatchObject({ trust: 'invited', because: 'it invited us into this room' });
  ben.hears(anna);
  expect(ben.circle.member(anna.jid)).toMatchObject({ trust: 'stranger', because: 'it has no certificate' });
  expect(ben.contacts.byDevice(anna.device.key)).toBeUndefined();
  anna.circle.certify(certify(host.device, anna));
  ben.hears(anna);
  expect(ben.circle.member(anna.jid)).toMatchObject({ trust: 'invited' });
  // The words were compared in another room, under another account: the certificate says that this account is that key's.
  await using carl = await openParty('carl');
  const { key: device } = carl.device;
  ben.contacts.pin({ device, account: 'carl@elsewhere.test', nick: 'carl', pin: 'verified', because: 'words' });
  ben.hears(carl);
  expect(ben.circle.member(carl.jid)).toMatchObject({ trust: 'stranger' });
  carl.circle.certify(certify(host.device, carl));
  ben.hears(carl);
  expect(ben.circle.member(carl.jid)).toMatchObject({ trust: 'verified', because: 'words' });
});

test('a pin from another room is no membership here', async () => {
  await using ben = await openParty('ben');
  await using mallory = await openParty('mallory');
  ben.hears(mallory);
  expect(ben.contacts.byDevice(mallory.device.key)?.pin).toBe('first-sight');
  await ben.contacts.saved();
  await using later = await ben.again({ inviter: inviter.key });
  expect(later.contacts.byDevice(mallory.device.key)?.pin).toBe('first-sight');
  later.hears(mallory);
  expect(later.circle.member(mallory.jid)).toMatchObject({ trust: 'stranger' });
});

test('membership ends with the certificate, also for whoever stays', async () => {
  let now = Date.now();
  await using ben = await openParty('ben', { inviter: inviter.key, now: () => now });
  await using anna = await openParty('anna', { inviter: inviter.key, now: () => now });
  for (const one of [anna, ben]) one.circle.certify(certify(inviter, one));
  ben.hears(anna);
  anna.hears(ben);
  const onMember = vi.fn<NonNullable<CircleEvents['onMember']>>();
  ben.circle.listen({ onMember });
  now += 2 * HOUR;
  const { signed } = await anna.circle.seal(ben.jid, 'x', 'late');
  await ben.circle.open(anna.jid, signed);
  expect(ben.circle.member(anna.jid)).toMatchObject({ trust: 'stranger', because: 'its certificate has expired' });
  expect(onMember).toHaveBeenCalledOnce();
  // The next one brings it back.
  const body = { room: ROOM, device: anna.device.key, account: anna.account, since: now, until: now + HOUR };
  anna.circle.certify(signCertificate(inviter, body));
  ben.hears(anna);
  expect(ben.circle.member(anna.jid)).toMatchObject({ trust: 'invited' });
});

test('a verified device vouches for the next one of its owner, and for nobody else', async () => {
  await using anna = await openParty('anna');
  await using ben = await openParty('ben');
  ben.hears(anna);
  const second = newDevice();
  const vouch = signVouch(anna.device, second.key);
  // On first sight alone her word is not enough.
  expect(comes(ben, anna, anna.account, { vouch }, second).member).toBeUndefined();
  ben.contacts.pin({ device: anna.device.key, account: anna.account, nick: 'anna', pin: 'verified', because: 'words' });
  expect(comes(ben, anna, anna.account, { vouch }, second).member).toMatchObject({
    trust: 'vouched',
    because: 'by anna',
  });
  // Whoever was vouched for does not vouch on.
  const third = newDevice();
  expect(comes(ben, anna, anna.account, { vouch: signVouch(second, third.key) }, third).member).toBeUndefined();
  // Nor does Anna for the account of another friend.
  await using carl = await openParty('carl');
  ben.hears(carl);
  const evil = newDevice();
  const forCarl = signVouch(anna.device, evil.key);
  expect(comes(ben, carl, carl.account, { vouch: forCarl }, evil).member).toBeUndefined();
  // Nor is a vouch for one device worth anything to another.
  expect(comes(ben, anna, anna.account, { vouch }, newDevice()).member).toBeUndefined();
});

test('where there are certificates, the word of an invited friend opens no door; that of a verified one does', async () => {
  const [ben, anna] = await openCertified(inviter, 'ben', 'anna');
  await using _ = ben!;
  await using __ = anna!;
  const second = newDevice();
  const vouch = signVouch(anna!.device, second.key);
  expect(comes(ben!, anna!, anna!.account, { vouch, certificate: undefined as never }, second).member).toMatchObject({
    trust: 'stranger',
  });
  const { key: device } = anna!.device;
  ben!.contacts.pin({ device, account: anna!.account, nick: 'anna', pin: 'verified', because: 'words' });
  ben!.circle.reconsider();
  expect(ben!.circle.member(`${anna!.account}/${second.key}`)).toMatchObject({ trust: 'vouched' });
});

test('nobody but this device is `self`, under whichever account', async () => {
  await using ben = await openParty('ben');
  await using other = await ben.again({ jid: 'ben@other.test/1' });
  ben.hears(other);
  expect(ben.circle.member(other.jid)).toMatchObject({ trust: 'self' });
  const mallory = newDevice();
  const jid = 'ben@other.test/2';
  ben.hears({ jid, says: other.says }, other.saying({ jid }, mallory));
  expect(ben.circle.member(jid)).toBeUndefined();
});

test('a forged hello before the honest one does not lock a friend out', async () => {
  await using anna = await openParty('anna');
  await using ben = await openParty('ben');
  const forged = anna.saying({ device: newDevice().key, counter: Number.MAX_SAFE_INTEGER }, newDevice());
  ben.hears(anna, forged);
  expect(ben.circle.refusedKey(anna.jid)).toBeUndefined();
  ben.hears(anna);
  expect(ben.circle.member(anna.jid)).toBeDefined();
});

test('a room full of strangers keeps no member out', { timeout: 60_000 }, async () => {
  const [ben, anna] = await openCertified(inviter, 'ben', 'anna');
  await using _ = ben!;
  await using __ = anna!;
  ben!.circle.leave(anna!.jid);
  const crowd = newDevice();
  for (let at = 0; at < 600; at++) {
    const jid = `x@host.test/${at}`;
    ben!.hears(
      { jid, says: anna!.says },
      anna!.saying({ jid, device: crowd.key, certificate: undefined as never }, crowd),
    );
  }
  expect(ben!.circle.members.length).toBeLessThanOrEqual(500);
  ben!.hears(anna!);
  expect(ben!.circle.member(anna!.jid)).toMatchObject({ trust: 'invited' });
});
