/** Where a setting comes from: flags win over the environment, and that over the file; demos inherit no settings at all. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig } from '../../../src/cli/config.ts';
import { withoutSettings } from '../../../src/cli/demo-stage.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-config-'));
  await mkdir(join(folder, 'config'));
  const write = (name: string, text: string) => writeFile(join(folder, name), text, { mode: 0o600 });
  await write(
    'config/config.json',
    JSON.stringify({ passwordFile: join(folder, 'of-file'), room: 'file@x', nick: 'file' }),
  );
  await write('of-file', 'password of the file\n');
  await write('of-flag', 'secret of the flag\n');
});
afterAll(() => rm(folder, { recursive: true }));

const load = (values: Record<string, unknown>, env: Record<string, string> = {}) => {
  const path = (name: string) => join(folder, name);
  const paths = { config: path('config'), state: path('state'), cache: path('cache'), runtime: path('runtime') };
  return loadConfig({ values, env, paths });
};

test('a plain setting: flag, environment, file', async () => {
  const env = { KITH_ROOM: 'environment@x', KITH_NICK: '' };
  expect(await load({ room: 'flag@x' }, env)).toMatchObject({ room: 'flag@x' });
  expect(await load({}, env)).toMatchObject({ room: 'environment@x', nick: 'file' });
});

test('a password: --password-file, KITH_PASSWORD, the file that the configuration names', async () => {
  const env = { KITH_PASSWORD: 'of the environment' };
  const flag = { 'password-file': join(folder, 'of-flag') };
  expect(await load(flag, env)).toMatchObject({ password: 'secret of the flag' });
  expect(await load({}, env)).toMatchObject({ password: 'of the environment' });
  expect(await load({}, { KITH_PASSWORD: '' })).toMatchObject({ password: 'password of the file' });
});

test('an invitation: --invitation, KITH_INVITATION', async () => {
  const env = { KITH_INVITATION: 'kith:environment' };
  expect(await load({ invitation: join(folder, 'of-flag') }, env)).toMatchObject({ invitation: 'secret of the flag' });
  expect(await load({}, env)).toMatchObject({ invitation: 'kith:environment' });
});

test('a truth value: as a flag, and as text in the environment', async () => {
  expect(await load({ 'create-room': true })).toMatchObject({ createRoom: true });
  expect(await load({}, { KITH_CREATE_ROOM: 'false' })).toMatchObject({ createRoom: false });
  await expect(load({}, { KITH_CREATE_ROOM: 'perhaps' })).rejects.toMatchObject({ code: 'cli.config' });
});

test('what a demo starts knows nothing of the room and account of the user', () => {
  const env = {
    PATH: '/bin',
    KITH_ROOM: 'a@b',
    KITH_INVITATION: 'kith:x',
    KITH_MEMORY: '1',
    KITH_LOG: 'debug',
    KITH_BOOT_LOG: '1',
  };
  expect(withoutSettings(env)).toEqual({ PATH: '/bin', KITH_LOG: 'debug', KITH_BOOT_LOG: '1' });
});
