/** The address book of a home that several processes write to, and that strangers try to fill. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { openContacts, PINS, type Contact } from '../../../src/trust/contacts.ts';
import { newDevice } from '../../harness/circle.ts';

async function home(): Promise<AsyncDisposable & { readonly path: string; readonly file: string }> {
  const path = await mkdtemp(join(tmpdir(), 'kith-contacts-'));
  return {
    path,
    file: join(path, 'contacts.json'),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

const contact = (more: Partial<Contact> = {}): Omit<Contact, 'since'> => ({
  device: newDevice().key,
  account: 'anna@host.test',
  nick: 'anna',
  pin: 'first-sight',
  because: 'the first key under this account',
  ...more,
});

test('what is pinned is there after a restart, in a file that nobody else reads', async () => {
  await using folder = await home();
  const contacts = await openContacts(folder.path);
  const anna = contact({ pin: 'invited', by: newDevice().key });
  contacts.pin(anna);
  await contacts.saved();
  expect((await stat(folder.file)).mode & 0o777).toBe(0o600);
  expect(await readdir(folder.path)).toEqual(['contacts.json']);
  expect((await openContacts(folder.path)).byDevice(anna.device)).toMatchObject(anna);
});

test('a pin rises and never falls', { timeout: 60_000 }, () => {
  const device = newDevice().key;
  return fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom(...PINS), { minLength: 1, maxLength: 8 }), async (pins) => {
      await using folder = await home();
      const contacts = await openContacts(folder.path);
      for (const pin of pins) contacts.pin(contact({ device, pin }));
      const strongest = PINS.find((pin) => pins.includes(pin));
      expect(contacts.byDevice(device)?.pin).toBe(strongest);
      await contacts.saved();
      expect((await openContacts(folder.path)).byDevice(device)?.pin).toBe(strongest);
    }),
    { numRuns: 20 },
  );
});

test('one device under two accounts is two contacts', async () => {
  await using folder = await home();
  const contacts = await openContacts(folder.path);
  const device = newDevice().key;
  contacts.pin(contact({ device, account: 'anna@host.test', pin: 'verified' }));
  contacts.pin(contact({ device, account: 'other@host.test' }));
  expect(contacts.of(device, 'other@host.test')?.pin).toBe('first-sight');
  expect(contacts.byDevice(device)?.pin).toBe('verified');
  expect(contacts.byAccount('other@host.test')).toHaveLength(1);
  await contacts.saved();
});

test('two processes that write at the same time lose nothing', { timeout: 60_000 }, async () => {
  await using folder = await home();
  const [one, two] = [await openContacts(folder.path), await openContacts(folder.path)];
  const all = Array.from({ length: 10 }, () => contact());
  for (const [at, each] of all.entries()) (at % 2 ? one : two).pin(each);
  await Promise.all([one.saved(), two.saved()]);
  const seen = (await openContacts(folder.path)).list().map(({ device }) => device);
  expect(seen.toSorted()).toEqual(all.map(({ device }) => device).toSorted());
});

test('what one process forgets does not come back from another one', { timeout: 60_000 }, async () => {
  await using folder = await home();
  const [running, command] = [await openContacts(folder.path), await openContacts(folder.path)];
  const mallory = contact({ pin: 'invited' });
  running.pin(mallory);
  await running.saved();
  await command.reload();
  expect(command.unpin(mallory.device)).toBe(true);
  await command.saved();
  running.pin(contact({ account: 'ben@host.test' }));
  await running.saved();
  expect(running.byDevice(mallory.device)).toBeUndefined();
  const after = await openContacts(folder.path);
  expect(after.list().map(({ account }) => account)).toEqual(['ben@host.test']);
  // Pinned anew it holds, though the clock stands still.
  after.pin(mallory);
  await after.saved();
  await running.reload();
  expect(running.byDevice(mallory.device)?.pin).toBe('invited');
});

test('it holds although the clock steps back between forgetting and pinning', async () => {
  await using folder = await home();
  let now = Date.parse('2026-01-02T00:00:00Z');
  const contacts = await openContacts(folder.path, () => new Date(now));
  const anna = contact();
  contacts.pin(anna);
  now -= 86_400_000;
  expect(contacts.unpin(anna.device)).toBe(true);
  expect(contacts.byDevice(anna.device)).toBeUndefined();
  contacts.pin(anna);
  expect(contacts.byDevice(anna.device)).toBeDefined();
  await contacts.saved();
  expect((await openContacts(folder.path)).list()).toHaveLength(1);
});

test('names of strangers never make a book that cannot be read again', { timeout: 60_000 }, () =>
  fc.assert(
    fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 3000 }), async (nick) => {
      await using folder = await home();
      const contacts = await openContacts(folder.path);
      contacts.pin(contact({ nick, because: nick }));
      await contacts.saved();
      const [read] = (await openContacts(folder.path)).list();
      expect(read?.nick).toMatch(/^\P{C}{1,64}$/u);
    }),
    { numRuns: 30, examples: [[''], ['\u202eevil\u001b[2J'], ['\ud83d\ude00'.repeat(500)], ['\u0000'.repeat(3000)]] },
  ),
);

test('a server that makes up accounts fills the book, and friends still get in', { timeout: 60_000 }, async () => {
  await using folder = await home();
  const contacts = await openContacts(folder.path);
  const old = contact({ account: 'old@host.test' });
  contacts.pin(old);
  const device = newDevice().key;
  for (let at = 0; at < 2500; at++) contacts.pin(contact({ device, account: `${'x'.repeat(900)}${at}@host.test` }));
  const stranger = contact({ account: 'late@host.test' });
  contacts.pin(stranger);
  expect(contacts.byDevice(stranger.device)).toBeUndefined();
  const friend = contact({ account: 'friend@host.test', pin: 'invited' });
  contacts.pin(friend);
  expect(contacts.byDevice(friend.device)?.pin).toBe('invited');
  expect(contacts.byDevice(old.device)).toBeDefined();
  await contacts.saved();
  expect((await openContacts(folder.path)).list()).toHaveLength(2000);
});

test.for([
  ['half a file', '{"version":1,"contacts":['],
  ['another version', '{"version":2,"contacts":[]}'],
  ['a key that is none', '{"version":1,"contacts":[{"device":"x"}]}'],
  ['a huge one', ' '.repeat(17 * 1_048_576)],
] as const)('a book that cannot be read is an error that names it: %s', async ([, text]) => {
  await using folder = await home();
  await writeFile(folder.file, text);
  await expect(openContacts(folder.path)).rejects.toMatchObject({
    code: 'trust.contacts',
    message: expect.stringContaining(folder.file) as string,
  });
  expect(await readFile(folder.file, 'utf8')).toBe(text);
});

test('a book that cannot be written is told to whoever waits, and the next try may succeed', async () => {
  await using folder = await home();
  const contacts = await openContacts(folder.path);
  await mkdir(folder.file);
  contacts.pin(contact());
  await expect(contacts.saved()).rejects.toMatchObject({ code: 'trust.contacts' });
  await rm(folder.file, { recursive: true });
  contacts.pin(contact({ account: 'ben@host.test' }));
  await contacts.saved();
  expect((await openContacts(folder.path)).list()).toHaveLength(2);
});
