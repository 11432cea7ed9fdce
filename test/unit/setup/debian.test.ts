/** The Debian installer with a stand-in for apt: no service starts meanwhile, and nothing of it stays. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

const SCRIPT = new URL('../../../src/setup/debian.sh', import.meta.url).pathname;

let folder: string;
let policy: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-test-apt-'));
  policy = join(folder, 'policy-rc.d');
});

afterEach(() => rm(folder, { recursive: true }));

async function put(name: string, text: string): Promise<void> {
  await writeFile(join(folder, name), `#!/bin/sh\n${text}`);
  await chmod(join(folder, name), 0o755);
}

/** Installs with an apt-get that writes down how it was called and what the policy says, then does as told. */
async function install(aptGet: string, ...packages: string[]) {
  await put('apt-get', `"${policy}"; echo "$? $*" >>"${folder}/calls"\n${aptGet}`);
  await put('systemctl', `echo "systemctl $*" >>"${folder}/calls"`);
  await put('update-rc.d', `echo "update-rc.d $*" >>"${folder}/calls"`);
  const child = spawn('/bin/sh', [SCRIPT, ...packages], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: `${folder}:/usr/bin:/bin`, KITH_POLICY: policy },
  });
  return { child, ended: once(child, 'exit') };
}

const calls = async () => (await readFile(join(folder, 'calls'), 'utf8')).trimEnd().split('\n');

test('while apt works services are forbidden; afterwards the policy is gone and prosody off', async () => {
  const { ended } = await install('', 'qemu-utils', 'prosody');
  expect(await ended).toEqual([0, null]);
  expect(await calls()).toEqual([
    '101 -o DPkg::Lock::Timeout=300 update',
    '101 -o DPkg::Lock::Timeout=300 install -y --no-install-recommends qemu-utils prosody',
    expect.stringMatching(/^(systemctl disable prosody|update-rc.d prosody disable)$/),
  ]);
  expect(existsSync(policy)).toBe(false);
});

test('a failing apt is a failure, and the policy goes all the same', async () => {
  const { ended } = await install('exit 100', 'qemu-utils');
  expect(await ended).toEqual([100, null]);
  expect(existsSync(policy)).toBe(false);
});

test('stopped by a signal, it waits for apt and then takes the policy away', async () => {
  const { child, ended } = await install('echo working; exec sleep 0.2', 'qemu-utils');
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  expect(await ended).toEqual([143, null]);
  expect(existsSync(policy)).toBe(false);
});

test("somebody else's policy stays as it is and in force", async () => {
  await put('policy-rc.d', 'exit 7\n');
  const { ended } = await install('', 'qemu-utils');
  expect(await ended).toEqual([0, null]);
  expect((await calls())[0]).toMatch(/^7 /);
  expect(await readFile(policy, 'utf8')).toBe('#!/bin/sh\nexit 7\n');
});

test('one of ours that a lost machine left behind is taken away', async () => {
  await put('policy-rc.d', '# kith set-up: no service starts while packages are installed\nexit 101\n');
  const { ended } = await install('', 'qemu-utils');
  expect(await ended).toEqual([0, null]);
  expect(existsSync(policy)).toBe(false);
});
