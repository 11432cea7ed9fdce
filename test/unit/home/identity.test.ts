/** A key that was compared takes the place of the one before it, and of no other; a vouch is for one device. */
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Paths } from '../../../src/base/paths.ts';
import {
  contactsOf,
  identityOf,
  pinVerified,
  takeVouch,
  verificationOf,
  vouchFor,
} from '../../../src/home/identity.ts';
import { openContacts } from '../../../src/trust/contacts.ts';
import { openDevice } from '../../../src/trust/device.ts';
import { openVouch } from '../../../src/trust/membership.ts';
import { codeOf } from '../../harness/xmpp.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-identity-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const homeOf = (name: string): Paths => {
  const path = join(folder, name);
  return { config: path, state: path, cache: path, runtime: path };
};
const keyOf = async (name: string) => (await openDevice(homeOf(name).state)).key;
const account = 'ben@kith.internal';

async function known(key: string): Promise<void> {
  const contacts = await openContacts(homeOf('ann').state);
  contacts.pin({ device: key, account, nick: 'ben', pin: 'invited', because: 'a test' });
  await contacts.saved();
}

test('both sides get the same words; a third device gets others', { timeout: 60_000 }, async () => {
  const [ann, ben, eve] = [await keyOf('ann'), await keyOf('ben'), await keyOf('eve')];
  const words = async (home: string, key: string) =>
    (await verificationOf(homeOf(home), { key, account, refused: false })).words;
  expect(await words('ann', ben)).toEqual(await words('ben', ann));
  expect(await words('ann', ben)).not.toEqual(await words('ann', eve));
});

test(
  'a refused new key replaces the old one once it is verified; a second device of a friend replaces nothing',
  { timeout: 60_000 },
  async () => {
    const [old, fresh] = [await keyOf('old'), await keyOf('fresh')];
    await known(old);
    const ann = homeOf('ann');
    const refused = await verificationOf(ann, { key: fresh, account, refused: true });
    expect(refused.replaces).toMatchObject([{ device: old }]);
    expect((await verificationOf(ann, { key: fresh, account, refused: false })).replaces).toEqual([]);
    await pinVerified(ann, { key: fresh, account, nick: 'ben' }, refused);
    expect(await contactsOf(ann)).toMatchObject([{ device: fresh, pin: 'verified' }]);
  },
);

test('a vouch is kept by the device that it is for alone, for its owner’s eyes', async () => {
  const fresh = await keyOf('fresh');
  const line = await vouchFor(homeOf('ann'), fresh);
  expect(await codeOf(takeVouch(homeOf('eve'), line))).toBe('trust.vouch');
  expect(await codeOf(takeVouch(homeOf('fresh'), `${line.slice(0, -6)}AAAAAA`))).toBe('trust.vouch');
  expect(await codeOf(vouchFor(homeOf('ann'), 'no key'))).toBe('cli.usage');
  const { fingerprint } = await identityOf(homeOf('ann'));
  expect(await takeVouch(homeOf('fresh'), line)).toBe(fingerprint);
  const file = join(homeOf('fresh').state, 'vouch');
  expect((await stat(file)).mode & 0o077).toBe(0);
  expect(openVouch((await readFile(file, 'utf8')).trim())).toEqual({ device: fresh, by: await keyOf('ann') });
});
