/** The runtime directory is ours alone, or not used at all. */
import { chmod, lstat, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openRuntimeDirectory } from '../../../src/base/paths.ts';
import { openPeerDirectory } from '../../../src/control/directory.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-paths-'));
  path = join(folder, 'runtime');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('is made for its owner alone, and used again', async () => {
  expect(await openRuntimeDirectory(path)).toBe(path);
  expect((await lstat(path)).mode & 0o777).toBe(0o700);
  expect(await openRuntimeDirectory(path)).toBe(path);
});

test.each([
  ['that others may read', 'others may enter it', () => mkdir(path).then(() => chmod(path, 0o750))],
  ['that others may pass', 'others may enter it', () => mkdir(path).then(() => chmod(path, 0o701))],
  ['that is a link', 'not a directory', () => mkdir(`${path}2`, 0o700).then(() => symlink(`${path}2`, path))],
  ['that is a link to nowhere', 'not a directory', () => symlink(`${path}2`, path)],
  ['that is a file', 'not a directory', () => writeFile(path, '', { mode: 0o600 })],
])('one %s is refused', async (_, why, make) => {
  await make();
  await expect(openRuntimeDirectory(path)).rejects.toMatchObject({
    code: 'base.unsafe-directory',
    message: expect.stringContaining(why) as string,
    hint: expect.stringContaining('XDG_RUNTIME_DIR') as string,
  });
});

test('one of somebody else is refused', async () => {
  await mkdir(path, 0o700);
  const uid = process.getuid!();
  vi.spyOn(process, 'getuid').mockReturnValue(uid + 1);
  try {
    await expect(openRuntimeDirectory(path)).rejects.toMatchObject({
      message: `the runtime directory ${path} is not safe to use: it belongs to user ${uid}`,
    });
  } finally {
    vi.restoreAllMocks();
  }
});

test('a peer does not start in an unsafe one', async () => {
  await mkdir(path, 0o700);
  await chmod(path, 0o755);
  await expect(openPeerDirectory(path, 'anna')).rejects.toMatchObject({ code: 'base.unsafe-directory' });
});
