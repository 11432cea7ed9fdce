/** A disk is a base that nobody writes and a working copy that goes with its guest. */
import { chmod, mkdtemp, readdir, readlink, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { hashFile } from '../../src/image/files.ts';
import { microImage, openTestLan, sh } from '../harness/guest.ts';

it('keeps what a guest writes away from the base', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'kith-disk-'));
  try {
    const base = join(folder, 'base,with comma.raw');
    await writeFile(base, '');
    await truncate(base, 64 * 2 ** 20);
    await chmod(base, 0o444);
    const before = await hashFile(base);
    const { image } = await microImage();
    await using lan = await openTestLan();
    const disk = { path: base, format: 'raw' } as const;
    const guest = await lan.boot(0, { image: { ...image, disk }, diskDirectory: folder });
    // Out of sight from the start: a kill of all of us at once leaves nothing that fills the host's disk.
    expect(await readdir(folder)).toEqual(['base,with comma.raw']);
    const fds = `/proc/${guest.pid}/fd`;
    const open = await Promise.all((await readdir(fds)).map((fd) => readlink(join(fds, fd)).catch(() => '')));
    expect(open.filter((path) => path.startsWith(folder) && path.endsWith('.d (deleted)'))).not.toEqual([]);
    expect(await sh(guest, 'echo written | dd of=/dev/vda conv=fsync 2>/dev/null; head -c 8 /dev/vda')).toBe(
      'written\n',
    );
    await guest[Symbol.asyncDispose]();
    expect(await hashFile(base)).toBe(before);
    expect(await readdir(lan.run.path)).toEqual([]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
