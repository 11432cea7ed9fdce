/** The authority of a room, without a server: who gets a certificate, who is put out, and what the server is told. */
import { expect, test } from 'vitest';
import { KithError } from '../../../src/base/errors.ts';
import { openDesk, recordsOf, type Desk, type DeskOptions } from '../../../src/host/desk.ts';
import { fingerprintOf } from '../../../src/trust/device.ts';
import { openGate } from '../../../src/trust/gate.ts';
import { decodeInvitation } from '../../../src/trust/invitation.ts';
import { openBans, openCertificate, signBans } from '../../../src/trust/membership.ts';
import { silentLog } from '../../../src/base/log.ts';
import { openParty, ROOM, type Party } from '../../harness/circle.ts';
import { codeOf } from '../../harness/xmpp.ts';

interface Hosting extends AsyncDisposable {
  readonly desk: Desk;
  readonly host: Party;
  readonly done: string[];
  readonly kept: { bans?: string; records: Parameters<DeskOptions['saveBans']>[1] };
}

async function openHosting(more: Partial<DeskOptions> = {}): Promise<Hosting> {
  const host = await openParty('host');
  // Its own key invites.
  const authority = await host.again({ inviter: host.device.key });
  const done: string[] = [];
  const kept: Hosting['kept'] = { records: [] };
  let tokens = 0;
  const desk = openDesk({
    device: authority.device,
    contacts: authority.contacts,
    circle: authority.circle,
    gate: openGate(),
    room: ROOM,
    place: {
      host: '127.0.0.1',
      port: 5223,
      domain: 'host.test',
      fingerprint: Array.from({ length: 32 }, () => 'AB').join(':'),
      bytesPerSecond: 1_000_000,
    },
    nick: 'ann',
    banned: [],
    server: {
      createToken: async () => `token-number-${++tokens}`,
      revokeToken: async (token) => void done.push(`revoked ${token}`),
    },
    setOutcast: async (account, out) => void done.push(`${account} ${out ? 'out' : 'in'}`),
    saveGrants: async () => {},
    saveBans: async (signed, records) => {
      done.push(`bans ${openBans(signed).epoch}`);
      Object.assign(kept, { bans: signed, records });
    },
    now: Date.now,
    log: silentLog,
    ...more,
  });
  return {
    desk,
    host: authority,
    done,
    kept,
    async [Symbol.asyncDispose]() {
      await authority.contacts.saved();
      await host[Symbol.asyncDispose]();
    },
  };
}

const tokenOf = async (desk: Desk) => decodeInvitation((await desk.invite({ seconds: 60, uses: 1 })).link).token;

test('whoever shows a token gets a certificate for this room, device and account, and is pinned', async () => {
  await using hosting = await openHosting();
  await using ben = await openParty('ben');
  const { desk, host } = hosting;
  host.hears(ben);
  expect(host.circle.member(ben.jid)?.trust).toBe('stranger');
  const token = await tokenOf(desk);
  const proof = openCertificate((await desk.admit(ben.jid, token)).certificate);
  expect(proof).toMatchObject({ room: ROOM, device: ben.device.key, account: ben.account, by: host.device.key });
  expect(host.contacts.byDevice(ben.device.key)).toMatchObject({ pin: 'invited', account: ben.account });
  expect(await codeOf(desk.admit(ben.jid, 'another'))).toBe('invitation.unknown');
  const { invitations } = await desk.invitations();
  expect(invitations).toMatchObject([{ uses: 1, revoked: false, usedBy: ['ben'] }]);
});

test('a ban is written first; then comes the server, and the invitation that let him in', async () => {
  await using hosting = await openHosting();
  await using ben = await openParty('ben');
  const { desk, host, done, kept } = hosting;
  host.hears(ben);
  await desk.admit(ben.jid, await tokenOf(desk));
  const { banned, epoch, revoked } = await desk.ban({ who: fingerprintOf(ben.device.key) });
  expect([epoch, revoked.length]).toEqual([1, 1]);
  expect(banned).toEqual([{ nick: 'ben', account: ben.account, fingerprint: fingerprintOf(ben.device.key) }]);
  expect(done).toEqual(['bans 1', `${ben.account} out`, 'revoked token-number-1']);
  expect(openBans(kept.bans ?? '').banned).toEqual([ben.device.key]);
  expect(host.circle.member(ben.jid)).toBeUndefined();
  expect(await codeOf(desk.ban({ who: 'ben' }))).toBe('host.banned-already');
  expect(await desk.unban({ who: 'ben' })).toMatchObject({ epoch: 2, unbanned: [{ nick: 'ben' }] });
  expect(openBans(kept.bans ?? '').banned).toEqual([]);
  expect(done.at(-1)).toBe(`${ben.account} in`);
  expect(await codeOf(desk.unban({ who: 'ben' }))).toBe('host.not-banned');
});

test('two bans at once: both hold', async () => {
  await using hosting = await openHosting();
  await using ben = await openParty('ben');
  await using carl = await openParty('carl');
  const { desk, host, kept } = hosting;
  for (const one of [ben, carl]) host.hears(one);
  const bans = await Promise.all([desk.ban({ who: 'ben' }), desk.ban({ who: 'carl' })]);
  expect(bans.map(({ epoch }) => epoch)).toEqual([1, 2]);
  expect(openBans(kept.bans ?? '').banned.toSorted()).toEqual([ben.device.key, carl.device.key].toSorted());
  expect(host.circle.members).toEqual([]);
  expect(await codeOf(Promise.all([desk.unban({ who: 'ben' }), desk.ban({ who: 'nobody' })]))).toBe('host.nobody');
  expect((await desk.unban({ who: 'carl' })).epoch).toBe(4);
});

test('a server that does not put him out changes nothing: the list of bans holds', async () => {
  const setOutcast = () => Promise.reject(new KithError({ code: 'xmpp.timeout', message: 'no answer' }));
  await using hosting = await openHosting({ setOutcast });
  await using ben = await openParty('ben');
  hosting.host.hears(ben);
  expect((await hosting.desk.ban({ who: 'ben' })).banned).toHaveLength(1);
  expect(hosting.host.circle.epoch).toBe(1);
});

test('all devices of an account go together; two people of one name must be told apart', async () => {
  await using hosting = await openHosting();
  const { desk, host } = hosting;
  await using phone = await openParty('ben', { jid: 'ben@host.test/phone' });
  await using laptop = await openParty('ben', { jid: 'ben@host.test/laptop' });
  await using other = await openParty('ben', { jid: 'other@host.test/pc' });
  for (const each of [phone, laptop]) host.hears(each);
  host.circle.meet(other.jid, 'ben', other.says()); // his nick, too
  expect(await codeOf(desk.ban({ who: 'nobody' }))).toBe('host.nobody');
  expect(await codeOf(desk.ban({ who: 'ben' }))).toBe('host.several');
  expect((await desk.ban({ who: 'ben@host.test' })).banned).toHaveLength(2);
  expect([phone, laptop, other].map(({ jid }) => host.circle.member(jid) !== undefined)).toEqual([false, false, true]);
});

test('the host itself cannot be banned', async () => {
  await using hosting = await openHosting();
  const { desk, host } = hosting;
  const own = await host.again({ jid: 'ann@host.test/worker' });
  host.hears(own);
  expect(await codeOf(desk.ban({ who: 'ann' }))).toBe('host.self');
});

test('every key of a list stays banned after a new start, also one whose name was lost', async () => {
  await using ann = await openParty('ann');
  await using ben = await openParty('ben');
  const known = { device: ben.device.key, account: ben.account, nick: 'ben' };
  const signed = signBans(ann.device, { room: ROOM, epoch: 1, banned: [ben.device.key, ann.device.key] });
  expect(recordsOf(signed, [known])).toEqual([
    known,
    { device: ann.device.key, account: 'unknown', nick: fingerprintOf(ann.device.key) },
  ]);
  expect(recordsOf(undefined, [known])).toEqual([]);
});
