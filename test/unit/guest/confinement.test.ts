/** Hosts whose programs promise much: only what is really enforced counts. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { probeConfinement, type ConfinementFinding } from '../../../src/guest/confinement.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-confinement-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** What the probe finds about the one program that is there. */
async function found(program: string, script: string): Promise<ConfinementFinding | undefined> {
  const path = join(folder, program);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  const findings = await probeConfinement({ qemu: '/bin/false', env: { PATH: folder } });
  const kinds = { bwrap: 'namespaces', 'systemd-run': 'cgroup', prlimit: 'rlimits', chrt: 'idle' } as const;
  return findings.find(({ name }) => name === kinds[program as keyof typeof kinds]);
}

describe.skipIf(process.platform !== 'linux')('the probe of the box', () => {
  it('does not believe a bubblewrap that only runs the program', async () => {
    const finding = await found('bwrap', 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"');
    expect(finding).toMatchObject({ ok: false, reason: expect.stringMatching(/cannot make a box/) as string });
  });

  it('says what bubblewrap said, and how the system can be told to allow it', async () => {
    const finding = await found('bwrap', 'echo "bwrap: No permissions to create a new namespace" >&2; exit 1');
    expect(finding?.reason).toMatch(/No permissions to create a new namespace$/);
    expect(finding?.hint).toMatch(/user namespaces/);
  });

  it('does not believe a systemd that takes limits and passes none on', async () => {
    const finding = await found('systemd-run', 'exit 0');
    expect(finding).toMatchObject({ ok: false, reason: expect.stringMatching(/does not pass .* limits on/) as string });
  });

  it('believes the limits that the kernel has', async () => {
    expect(await found('systemd-run', 'echo 67108864; echo 50000 100000')).toEqual({ name: 'cgroup', ok: true });
  });

  it.each([
    ['prlimit', 'echo 1024'],
    ['chrt', 'echo "scheduling policy: SCHED_OTHER"'],
  ])('does not believe a %s without effect', async (program, script) => {
    expect(await found(program, script)).toMatchObject({ ok: false });
  });
});
