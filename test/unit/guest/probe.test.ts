/** Hosts without a QEMU, with an old one, and with one that lies. */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { parseVersion, probeHost } from '../../../src/guest/probe.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-probe-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function fakeQemu(script: string): Promise<NodeJS.ProcessEnv> {
  const path = join(folder, 'qemu-system-x86_64');
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return { PATH: folder };
}

describe('the version of QEMU', () => {
  it.each(['7.2.22', '7.2.0', '8.0.5', '10.1.0'])('%s is new enough', (version) => {
    expect(parseVersion(`QEMU emulator version ${version} (Debian 1:x)\nCopyright`, 'q')).toBe(version);
  });

  it.each(['7.1.9', '6.2.0', '2.11.1'])('%s is too old', (version) => {
    expect(() => parseVersion(`QEMU emulator version ${version}`, 'q')).toThrow(
      expect.objectContaining({ code: 'guest.qemu-too-old' }) as Error,
    );
  });

  it('is missing in other text', () => {
    expect(() => parseVersion('command not found', 'q')).toThrow(
      expect.objectContaining({ code: 'guest.qemu-missing' }) as Error,
    );
  });
});

describe('the probe', () => {
  it('says how to install QEMU where there is none', async () => {
    const probe = probeHost({ cacheDir: folder, log: silentLog, env: { PATH: folder } });
    const missing = { code: 'guest.qemu-missing', hint: expect.stringMatching(/apt .*dnf .*pacman .*brew/) as string };
    // findProgram also looks into the sbin folders, where no QEMU lives.
    await expect(probe).rejects.toMatchObject(missing);
  });

  it('sees what this QEMU can do, and emulates where nothing can be tried', async () => {
    const env = await fakeQemu(`case "$*" in
      --version) echo 'QEMU emulator version 8.2.1';;
      *netdev*) printf 'Available netdev backend types:\\nsocket\\nstream\\n';;
      *sandbox*) echo "-sandbox: seccomp support is disabled" >&2; exit 1;;
    esac`);
    expect(await probeHost({ cacheDir: folder, log: silentLog, env })).toMatchObject({
      qemu: join(folder, 'qemu-system-x86_64'),
      version: '8.2.1',
      streamNetdev: true,
      accelerator: 'tcg',
      confinement: [], // no other program on this path, and a QEMU without a filter
    });
  });
});

describe('the probe of an accelerator', () => {
  const QEMU = (speech: string) => `case "$*" in
      --version) echo 'QEMU emulator version 8.2.1';;
      *-accel*) ${speech};;
      *sandbox*) echo "not a valid device model" >&2; exit 1;;
    esac`;

  it.skipIf(process.platform !== 'linux')('believes only a kernel that speaks, and remembers', async () => {
    const { existsSync } = await import('node:fs');
    const expected = existsSync('/dev/kvm') ? 'kvm' : 'tcg';
    const env = await fakeQemu(QEMU('echo "[    0.000000] Linux version 6.1.0"; sleep 60'));
    const options = { cacheDir: folder, kernel: '/kernel', log: silentLog, env };
    expect((await probeHost(options)).accelerator).toBe(expected);
    if (expected === 'tcg') return;
    expect(JSON.parse(await readFile(join(folder, 'accelerator.json'), 'utf8'))).toMatchObject({ works: true });
    await fakeQemu(QEMU('exit 134'));
    expect((await probeHost(options)).accelerator).toBe('kvm');
    await rm(join(folder, 'accelerator.json'));
    expect((await probeHost(options)).accelerator).toBe('tcg');
  });
});
