/** The owner's file: what it may say, how it is changed without loss, and that a broken one is never in force. */
import { appendFile, chmod, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock, type Clock } from '../../../src/base/clock.ts';
import { silentLog } from '../../../src/base/log.ts';
import { ruleFor, setField, setFriend } from '../../../src/job/policy-edit.ts';
import { changePolicy, parsePolicy, readPolicy } from '../../../src/job/policy-file.ts';
import { openPolicyStore, type PolicyStore } from '../../../src/job/policy-store.ts';
import { tempFolder, type TempFolder } from '../../harness/fake-peer.ts';

const DEVICE = '3f2a-90c1-0011-2233-4455-6677-8899-aabb';

let folder: TempFolder;
let path: string;
beforeEach(async () => {
  folder = await tempFolder();
  path = join(folder.path, 'kith', 'policy.json');
});
afterEach(() => folder[Symbol.asyncDispose]());

const write = async (text: string) => {
  await mkdir(join(folder.path, 'kith'), { recursive: true });
  await writeFile(path, text, { mode: 0o600 });
};
const written = async () => JSON.parse(await readFile(path, 'utf8')) as unknown;

describe('what the file may say', () => {
  test('nothing, or everything', async () => {
    const all = {
      default: 'ask',
      friends: {
        'anna@x.org': 'always',
        [DEVICE]: 'never',
        verified: 'always',
        vouched: 'ask',
        'first-sight': 'never',
      },
      caps: {
        cpus: 1,
        memoryMiB: 1024,
        diskMiB: 2048,
        bandwidth: 1_000_000,
        guests: 2,
        seconds: 3600,
        hours: '22:00-07:00',
        internet: true,
        lan: false,
      },
    };
    expect(parsePolicy(all)).toEqual(all);
    expect(parsePolicy({})).toEqual({});
    expect(await readPolicy(path)).toEqual({});
  });

  test.each<[unknown, RegExp]>([
    [{ memory: 1 }, /\(memory\)/],
    [{ caps: { cpu: 1 } }, /\/caps .*\(cpu\)/],
    [{ friends: { anna: 'always' } }, /\/friends .*\(anna\)/],
    [{ friends: { 'anna@x/phone': 'always' } }, /\(anna@x\/phone\)/],
    [{ friends: { [DEVICE.toUpperCase()]: 'always' } }, /\/friends/],
    [{ friends: { self: 'never' } }, /\(self\)/],
    [{ friends: { 'anna@x': 'yes' } }, /\/friends\/anna@x must be equal to one of/],
    [{ default: 'room' }, /\/default/],
    [{ caps: { cpus: -1 } }, /\/caps\/cpus/],
    [{ caps: { memoryMiB: 1.5 } }, /\/caps\/memoryMiB/],
    [{ caps: { seconds: 0 } }, /\/caps\/seconds/],
    [{ caps: { hours: '22-7' } }, /\/caps\/hours/],
    [{ caps: { hours: '25:00-07:00' } }, /\/caps\/hours/],
    [{ caps: { hours: '07:00-07:00' } }, /no time at all/],
    [{ caps: { lan: true } }, /never reach the owner's LAN/],
    [[], /must be object/],
    ['always', /must be object/],
  ])('not %j', (value, why) => {
    expect(() => parsePolicy(value)).toThrow(why);
    expect(() => parsePolicy(value)).toThrow(expect.objectContaining({ code: 'policy.invalid' }) as Error);
  });

  test.each<[string, string]>([
    ['{', 'policy.invalid'],
    ['', 'policy.invalid'],
    [`{"friends":{}}${' '.repeat(262_144)}`, 'policy.invalid'],
  ])('not %j as a text', async (text, code) => {
    await write(text);
    await expect(readPolicy(path)).rejects.toMatchObject({ code, message: expect.stringContaining(path) as string });
  });

  test('nothing at all where others can write', async () => {
    await write('{"default":"always"}');
    await chmod(path, 0o620);
    await expect(readPolicy(path)).rejects.toMatchObject({ code: 'policy.unsafe', hint: `chmod 600 ${path}` });
  });
});

describe('a change', () => {
  test('makes the file, with mode 0600 whatever the umask, and leaves no draft', async () => {
    const umask = process.umask(0);
    try {
      await setField(path, 'memoryMiB', '1G');
    } finally {
      process.umask(umask);
    }
    expect(await written()).toEqual({ caps: { memoryMiB: 1024 } });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(join(folder.path, 'kith'))).toEqual(['policy.json']);
  });

  test('keeps all the rest, and its order', async () => {
    await write(
      '{ "friends": { "ben@x": "never" },\n "default": "ask", "caps": { "hours": "22:00-07:00", "cpus": 2 } }',
    );
    await setField(path, 'caps.cpus', '1');
    await setFriend(path, 'anna@x', 'always');
    await setFriend(path, DEVICE, 'ask');
    expect(JSON.stringify(await written())).toBe(
      `{"friends":{"ben@x":"never","anna@x":"always","${DEVICE}":"ask"},"default":"ask","caps":{"hours":"22:00-07:00","cpus":1}}`,
    );
    await setFriend(path, 'ben@x', 'none');
    await setField(path, 'hours', 'none');
    await setField(path, 'default', 'none');
    expect(await written()).toEqual({ friends: { 'anna@x': 'always', [DEVICE]: 'ask' }, caps: { cpus: 1 } });
  });

  test.each([
    ['seconds', '90', 90],
    ['seconds', '4h', 14_400],
    ['bandwidth', '2M', 2_000_000],
    ['internet', 'yes', true],
    ['hours', '22:00-07:00', '22:00-07:00'],
  ])('of %s to %s', async (field, text, value) => {
    await setField(path, field, text);
    expect(await written()).toEqual({ caps: { [field]: value } });
  });

  test.each<[() => Promise<unknown>, string]>([
    [() => setField(path, 'colour', 'red'), 'policy.no-field'],
    [() => setField(path, 'constructor', 'red'), 'policy.no-field'],
    [() => setField(path, 'cpus', 'many'), 'policy.invalid'],
    [() => setField(path, 'cpus', '1G'), 'policy.invalid'],
    [() => setField(path, 'lan', 'yes'), 'policy.invalid'],
    [() => setFriend(path, 'anna', 'always'), 'policy.invalid'],
    [() => setFriend(path, '__proto__', 'always'), 'policy.invalid'],
    [() => setFriend(path, 'anna@x', 'maybe'), 'policy.invalid'],
  ])('that is wrong writes nothing (%#)', async (change, code) => {
    await write('{"default":"ask"}');
    await expect(change()).rejects.toMatchObject({ code });
    expect(await readFile(path, 'utf8')).toBe('{"default":"ask"}');
  });

  test('of a broken file is refused: what it meant is not for us to guess', async () => {
    await write('{"default":"ask"');
    await expect(setField(path, 'cpus', '1')).rejects.toMatchObject({ code: 'policy.invalid' });
    expect(await readFile(path, 'utf8')).toBe('{"default":"ask"');
  });

  test('follows a link instead of replacing it', async () => {
    await mkdir(join(folder.path, 'kith'));
    await symlink(join(folder.path, 'mine.json'), path);
    await writeFile(join(folder.path, 'mine.json'), '{"default":"ask"}', { mode: 0o600 });
    await setField(path, 'cpus', '1');
    expect(JSON.parse(await readFile(join(folder.path, 'mine.json'), 'utf8'))).toEqual({
      default: 'ask',
      caps: { cpus: 1 },
    });
  });

  test('changes at once are all there', async () => {
    await write('{}');
    await Promise.all([
      changePolicy(path, ['default'], 'ask'),
      setFriend(path, 'ben@x', 'never'),
      setField(path, 'cpus', '1'),
    ]);
    expect(await written()).toEqual({ default: 'ask', friends: { 'ben@x': 'never' }, caps: { cpus: 1 } });
  });
});

test('remembered: a yes for the very key, a no for the whole account', () => {
  const who = { account: 'anna@x', device: DEVICE, trust: 'invited' } as const;
  expect(ruleFor(who, true)).toEqual({ friend: DEVICE, rule: 'always' });
  expect(ruleFor(who, false)).toEqual({ friend: 'anna@x', rule: 'never' });
  expect(ruleFor({ ...who, device: undefined }, true)).toEqual({ friend: 'anna@x', rule: 'always' });
});

describe('the file as it is now', () => {
  let store: PolicyStore | undefined;
  let changes = 0;
  const open = async (clock: Clock = systemClock) => {
    changes = 0;
    store = await openPolicyStore({ path, clock, log: silentLog, onChange: () => changes++ });
    return store;
  };
  afterEach(() => store?.[Symbol.asyncDispose]());
  const SEEN = { timeout: 20_000 };

  test('is noticed when it appears, is written anew, replaced and removed', async () => {
    const { current } = await open();
    expect(current).toEqual({});
    await write('{"default":"ask"}');
    await expect.poll(() => store?.current, SEEN).toEqual({ default: 'ask' });
    await write('{"default":"never"}');
    await expect.poll(() => store?.current, SEEN).toEqual({ default: 'never' });
    await writeFile(`${path}.new`, '{"default":"always"}', { mode: 0o600 });
    await rename(`${path}.new`, path);
    await expect.poll(() => store?.current, SEEN).toEqual({ default: 'always' });
    await rm(path);
    await expect.poll(() => store?.current, SEEN).toEqual({});
    expect(changes).toBe(4);
  }, 90_000);

  test('is noticed by its folder alone, without a look from time to time', async () => {
    await open({ ...systemClock, every: () => () => {} });
    await write('{"default":"ask"}');
    await expect.poll(() => store?.current, SEEN).toEqual({ default: 'ask' });
  }, 30_000);

  test('is noticed by a look alone, where it is a link to a folder that nobody watches', async () => {
    const target = join(folder.path, 'mine.json');
    await mkdir(join(folder.path, 'kith'));
    await symlink(target, path);
    await writeFile(target, '{}', { mode: 0o600 });
    await open();
    await writeFile(target, '{"default":"ask"}');
    await expect.poll(() => store?.current, SEEN).toEqual({ default: 'ask' });
  }, 30_000);

  test('is in force at once after a reload; the same again is no change', async () => {
    const opened = await open();
    await write('{"default":"ask"}');
    await opened.reload();
    expect(opened.current).toEqual({ default: 'ask' });
    await write('{ "default": "ask" }');
    await opened.reload();
    expect(changes).toBe(1);
  });

  test('stays the last good one while it is broken, and says why', async () => {
    await write('{"default":"ask"}');
    const opened = await open();
    await appendFile(path, 'oops');
    await opened.reload();
    expect(opened.current).toEqual({ default: 'ask' });
    expect(opened.fault).toMatch(/policy\.json: policy is not JSON/);
    await write('{"default":"always","colour":"red"}');
    await opened.reload();
    expect([opened.current, changes]).toEqual([{ default: 'ask' }, 0]);
    expect(opened.fault).toContain('(colour)');
    await write('{"default":"never"}');
    await opened.reload();
    expect([opened.current, opened.fault, changes]).toEqual([{ default: 'never' }, undefined, 1]);
  });

  test('must be right at the start: there is no good one to go on with', async () => {
    await write('{"default":"sometimes"}');
    store = undefined;
    await expect(open()).rejects.toMatchObject({ code: 'policy.invalid' });
  });
});
