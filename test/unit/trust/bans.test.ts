/** Thrown out: at once, everywhere, whoever tries to keep it quiet, and with new keys for those who stay. */
import { expect, test, vi } from 'vitest';
import type { CircleEvents } from '../../../src/trust/circle.ts';
import { createBoxKey, openBox } from '../../../src/trust/box.ts';
import { boxInfo, readEnvelope } from '../../../src/trust/envelope.ts';
import { signBans } from '../../../src/trust/membership.ts';
import { certify, introduce, newDevice, openCertified, openParty, ROOM, type Party } from '../../harness/circle.ts';

const inviter = newDevice();
const bansOf = (epoch: number, ...banned: readonly Party[]): string =>
  signBans(inviter, { room: ROOM, epoch, banned: banned.map(({ device }) => device.key) });

async function quartet(): Promise<
  AsyncDisposable & { all: Party[]; anna: Party; ben: Party; cleo: Party; mallory: Party }
> {
  const all = await openCertified(inviter, 'anna', 'ben', 'cleo', 'mallory');
  const [anna, ben, cleo, mallory] = all as [Party, Party, Party, Party];
  return {
    all,
    anna,
    ben,
    cleo,
    mallory,
    [Symbol.asyncDispose]: async () => void (await Promise.all(all.map((each) => each[Symbol.asyncDispose]()))),
  };
}

test('a ban takes seat and pin, and a certificate that is still valid gives neither back', async () => {
  await using room = await quartet();
  const { ben, mallory } = room;
  const { signed } = await mallory.circle.seal(ben.jid, 'x', 'hello');
  const onMember = vi.fn<NonNullable<CircleEvents['onMember']>>();
  const onBans = vi.fn<NonNullable<CircleEvents['onBans']>>();
  ben.circle.listen({ onMember, onBans });
  const list = bansOf(1, mallory);
  expect(await ben.circle.adoptBans(list)).toBe(true);
  expect(onMember).toHaveBeenCalledExactlyOnceWith(mallory.jid, undefined);
  expect(onBans).toHaveBeenCalledExactlyOnceWith(list, new Set([mallory.device.key]), false);
  for (const attempt of [1, 2]) {
    expect(ben.circle.member(mallory.jid), `attempt ${attempt}`).toBeUndefined();
    expect(ben.contacts.byDevice(mallory.device.key)).toBeUndefined();
    ben.hears(mallory);
    ben.circle.reconsider();
  }
  await expect(ben.circle.open(mallory.jid, signed)).rejects.toMatchObject({ code: 'trust.unknown-peer' });
  await expect(ben.circle.seal(mallory.jid, 'x', 'y')).rejects.toMatchObject({ code: 'trust.unknown-peer' });
  // And after a start from what was saved.
  await ben.contacts.saved();
  const later = await ben.again({ inviter: inviter.key, bans: list });
  later.hears(mallory);
  expect(later.circle.member(mallory.jid)).toBeUndefined();
  expect(later.contacts.byDevice(mallory.device.key)).toBeUndefined();
  await later.contacts.saved();
});

test('a saved list that was damaged stops the start instead of letting everybody in', async () => {
  await using ben = await openParty('ben');
  const list = bansOf(1, ben);
  await expect(ben.again({ inviter: inviter.key, bans: `A${list.slice(1)}` })).rejects.toMatchObject({
    code: 'trust.signature',
  });
});

test('older lists, those of others and those of other rooms change nothing', async () => {
  await using room = await quartet();
  const { ben, mallory, cleo } = room;
  await ben.circle.adoptBans(bansOf(5, mallory));
  const lists = [
    bansOf(4),
    bansOf(5, cleo),
    signBans(cleo.device, { room: ROOM, epoch: 9, banned: [] }),
    signBans(inviter, { room: 'other@rooms.test', epoch: 9, banned: [] }),
  ];
  for (const list of lists) expect(await ben.circle.adoptBans(list)).toBe(false);
  expect(ben.circle.epoch).toBe(5);
  expect(ben.circle.member(mallory.jid)).toBeUndefined();
  // A newer one without her name is a pardon.
  expect(await ben.circle.adoptBans(bansOf(6))).toBe(true);
  ben.hears(mallory);
  expect(ben.circle.member(mallory.jid)).toBeDefined();
});

test('the hello of anybody who knows the list brings it, even of a stranger', async () => {
  await using room = await quartet();
  const { ben, mallory } = room;
  await using stranger = await openParty('stranger', { inviter: inviter.key, bans: bansOf(1, mallory) });
  ben.hears(stranger);
  await vi.waitFor(() => expect(ben.circle.epoch).toBe(1), { timeout: 20_000 });
  expect(ben.circle.member(mallory.jid)).toBeUndefined();
});

test('so does any message of whoever knows it, and once the other shows that he knows it is said no more', async () => {
  await using room = await quartet();
  const { anna, ben, mallory } = room;
  await anna.circle.adoptBans(bansOf(1, mallory));
  const first = await anna.circle.seal(ben.jid, 'x', 'hello');
  expect(readEnvelope(first.signed).bans).toBe(bansOf(1, mallory));
  // The server shows neither of them a new presence; Anna's message is of a session that Ben has not seen, and still tells.
  await ben.circle.open(anna.jid, first.signed).catch(() => {});
  expect(ben.circle.epoch).toBe(1);
  expect(ben.circle.member(mallory.jid)).toBeUndefined();
  await introduce(anna, ben);
  const second = await anna.circle.seal(ben.jid, 'x', 'hello');
  expect(readEnvelope(second.signed).bans).toBeUndefined();
  expect(await ben.circle.open(anna.jid, second.signed)).toMatchObject({ text: 'hello' });
});

test('the banned one himself brings the list that bans him', async () => {
  await using room = await quartet();
  const { ben, mallory } = room;
  await mallory.circle.adoptBans(bansOf(1, mallory));
  const { signed } = await mallory.circle.seal(ben.jid, 'x', 'hello');
  await expect(ben.circle.open(mallory.jid, signed)).rejects.toMatchObject({ code: 'trust.unknown-peer' });
  expect(ben.circle.epoch).toBe(1);
});

test('whoever is on the list is told so', async () => {
  await using room = await quartet();
  const onBans = vi.fn<NonNullable<CircleEvents['onBans']>>();
  room.mallory.circle.listen({ onBans });
  await room.mallory.circle.adoptBans(bansOf(1, room.mallory));
  expect(onBans).toHaveBeenCalledExactlyOnceWith(expect.any(String), expect.anything(), true);
});

test('a message that is being opened when its sender is thrown out is not delivered', async () => {
  await using room = await quartet();
  const { ben, mallory } = room;
  const { signed } = await mallory.circle.seal(ben.jid, 'x', 'hello');
  const opening = ben.circle.open(mallory.jid, signed);
  void ben.circle.adoptBans(bansOf(1, mallory));
  await expect(opening).rejects.toMatchObject({ code: expect.stringMatching(/^trust\./) as string });
});

test('two lists that come at once: the newer one is kept and told, the older one is not', async () => {
  await using room = await quartet();
  const { ben, cleo, mallory } = room;
  const onBans = vi.fn<NonNullable<CircleEvents['onBans']>>();
  ben.circle.listen({ onBans });
  await Promise.all([ben.circle.adoptBans(bansOf(1, cleo)), ben.circle.adoptBans(bansOf(2, cleo, mallory))]);
  expect(onBans).toHaveBeenCalledExactlyOnceWith(bansOf(2, cleo, mallory), expect.anything(), false);
});

test('a listener that throws neither stops the ban nor silences the others', async () => {
  await using room = await quartet();
  const broken = () => {
    throw new Error('broken');
  };
  room.ben.circle.listen({ onMember: broken, onBans: broken });
  const onBans = vi.fn<NonNullable<CircleEvents['onBans']>>();
  room.ben.circle.listen({ onBans });
  expect(await room.ben.circle.adoptBans(bansOf(1, room.mallory))).toBe(true);
  expect(onBans).toHaveBeenCalledOnce();
});

test('whom the banned one vouched for goes with him', async () => {
  await using room = await quartet();
  const { ben, mallory } = room;
  const account = mallory.account;
  ben.contacts.pin({ device: mallory.device.key, account, nick: 'm', pin: 'verified', because: 'words' });
  const second = newDevice();
  ben.contacts.pin({ device: second.key, account, nick: 'm', pin: 'vouched', because: 'by m', by: mallory.device.key });
  await ben.circle.adoptBans(bansOf(1, mallory));
  expect(ben.contacts.byDevice(second.key)).toBeUndefined();
  expect(ben.circle.member(mallory.jid)).toBeUndefined();
});

test('whoever invites into one room does not wipe out what is known from elsewhere', async () => {
  await using ben = await openParty('ben', { inviter: inviter.key });
  const friends = ([{ pin: 'verified' }, { pin: 'first-sight' }, { pin: 'invited', by: newDevice().key }] as const).map(
    (pin, at) => ({ device: newDevice().key, account: `${at}@host.test`, nick: 'x', because: 'y', ...pin }),
  );
  for (const friend of friends) ben.contacts.pin(friend);
  await ben.circle.adoptBans(signBans(inviter, { room: ROOM, epoch: 1, banned: friends.map(({ device }) => device) }));
  expect(ben.contacts.list()).toHaveLength(friends.length);
});

test('after a ban all move to new keys: the old ones take what is under way for a minute, then nothing', async () => {
  let now = Date.now();
  await using anna = await openParty('anna', { inviter: inviter.key, now: () => now });
  await using ben = await openParty('ben', { inviter: inviter.key, now: () => now });
  for (const one of [anna, ben]) one.circle.certify(certify(inviter, one));
  await introduce(anna, ben);
  const [underWay, held] = [await anna.circle.seal(ben.jid, 'x', 'one'), await anna.circle.seal(ben.jid, 'x', 'two')];
  const before = ben.circle.boxKey;
  await ben.circle.adoptBans(bansOf(1));
  expect(ben.circle.boxKey.key).not.toBe(before.key);
  now += 59_000;
  expect(await ben.circle.open(anna.jid, underWay.signed)).toMatchObject({ text: 'one' });
  now += 2000;
  await expect(ben.circle.open(anna.jid, held.signed)).rejects.toMatchObject({
    message: expect.stringContaining('to an earlier life of ours') as string,
  });
  // And what Anna says now, the old key does not open.
  await introduce(anna, ben);
  const { signed } = await anna.circle.seal(ben.jid, 'x', 'three');
  const { enc, box, ...head } = readEnvelope(signed);
  await expect(openBox(before, boxInfo(head, anna.device.key), { enc, box })).rejects.toBeInstanceOf(Error);
  expect(await ben.circle.open(anna.jid, signed)).toMatchObject({ text: 'three' });
  expect((await createBoxKey()).key).not.toBe(ben.circle.boxKey.key);
});

test('messages of the session before a ban are taken for a minute, too', async () => {
  let now = Date.now();
  const [anna, ben] = await Promise.all(
    ['anna', 'ben'].map((name) => openParty(name, { inviter: inviter.key, now: () => now })),
  );
  await using _ = anna!;
  await using __ = ben!;
  for (const one of [anna!, ben!]) one.circle.certify(certify(inviter, one));
  await introduce(anna!, ben!);
  const sent = [await anna!.circle.seal(ben!.jid, 'x', 'one'), await anna!.circle.seal(ben!.jid, 'x', 'two')];
  await anna!.circle.adoptBans(bansOf(1));
  ben!.hears(anna!);
  expect(await ben!.circle.open(anna!.jid, sent[0]!.signed)).toMatchObject({ text: 'one' });
  now += 61_000;
  await expect(ben!.circle.open(anna!.jid, sent[1]!.signed)).rejects.toMatchObject({ code: 'trust.refused' });
});
