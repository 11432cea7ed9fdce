/** What a home remembers of a room: one file of its own, shared by processes, never with an older list of bans than it knew. */
import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { errorCode } from '../../../src/base/errors.ts';
import { isMember, openRooms, type SavedRoom } from '../../../src/home/rooms.ts';
import type { Device } from '../../../src/trust/device.ts';
import { decodeInvitation, encodeInvitation } from '../../../src/trust/invitation.ts';
import { signBans, signCertificate } from '../../../src/trust/membership.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-rooms-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function device(): Device {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const { x = '' } = publicKey.export({ format: 'jwk' });
  return { key: x, sign: (bytes) => sign(null, bytes, privateKey) };
}

const ann = device();
const ROOM = 'friends@rooms.kith.internal';
const lineOf = (token: string, room = ROOM) =>
  encodeInvitation(ann, {
    host: '127.0.0.1',
    port: 5223,
    domain: 'kith.internal',
    fingerprint: Array.from({ length: 32 }, () => 'AB').join(':'),
    room,
    token,
    bytesPerSecond: 1_000_000,
    nick: 'ann',
    expires: 2_000_000_000_000,
    uses: 1,
  });
const saved = (more: Partial<SavedRoom> = {}): SavedRoom => ({
  version: 2,
  invitation: lineOf('token-one'),
  username: 'ben-1',
  password: 'secret',
  ...more,
});
const invitation = decodeInvitation(lineOf('token-one'));
const bans = (epoch: number) => signBans(ann, { room: ROOM, epoch, banned: [] });

test('another line to the same room finds it; a line to another room does not', async () => {
  const rooms = openRooms(folder);
  await rooms.save(saved());
  expect(await rooms.find(decodeInvitation(lineOf('token-two')))).toEqual(saved());
  expect(await rooms.find(decodeInvitation(lineOf('token-one', 'other@rooms.kith.internal')))).toBeUndefined();
  for (const name of await readdir(join(folder, 'rooms')))
    expect((await stat(join(folder, 'rooms', name))).mode & 0o077).toBe(0);
});

test('the current room is the one that was said, and none before', async () => {
  const rooms = openRooms(folder);
  await rooms.save(saved());
  expect(await rooms.current()).toBeUndefined();
  await rooms.makeCurrent(invitation);
  expect(await rooms.current()).toEqual(saved());
});

test('what several processes learn at once is all kept, and an older list of bans is not', async () => {
  await openRooms(folder).save(saved());
  const [one, two] = [openRooms(folder), openRooms(folder)];
  await Promise.all([
    one.learn(invitation, { certificate: 'signed' }),
    two.learn(invitation, { bans: bans(3) }),
    one.learn(invitation, { bans: bans(2) }),
  ]);
  expect(await two.find(invitation)).toEqual(saved({ certificate: 'signed', bans: bans(3) }));
});

test('of two that start at once, one does its work after the other', async () => {
  const events: string[] = [];
  const first = Promise.withResolvers<void>();
  const { signal } = new AbortController();
  const one = openRooms(folder).alone(async () => {
    events.push('one begins');
    await first.promise;
    events.push('one ends');
  }, signal);
  while (events.length === 0) await new Promise((resolve) => setImmediate(resolve));
  const two = openRooms(folder).alone(async () => void events.push('two'), signal);
  first.resolve();
  await Promise.all([one, two]);
  expect(events).toEqual(['one begins', 'one ends', 'two']);
});

test('a member is who has a certificate that holds', () => {
  const certificate = (until: number) =>
    signCertificate(ann, { room: ROOM, device: ann.key, account: 'ben@kith.internal', since: 0, until });
  expect(isMember(saved())).toBe(false);
  expect(isMember(saved({ certificate: certificate(Date.now() + 3_600_000) }))).toBe(true);
  expect(isMember(saved({ certificate: certificate(Date.now() - 3_600_000) }))).toBe(false);
});

test('a broken file is named, not passed over', async () => {
  const rooms = openRooms(folder);
  await rooms.save(saved());
  const [name = ''] = await readdir(join(folder, 'rooms'));
  await writeFile(join(folder, 'rooms', name), '{');
  expect(await rooms.find(invitation).catch(errorCode)).toBe('account.file');
  await expect(rooms.find(invitation)).rejects.toThrow(name);
});
