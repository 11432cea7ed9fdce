/** An image of a few kilobytes that nothing boots: for stores, transfers and recipes. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeFile } from '../../src/image/files.ts';
import type { Manifest } from '../../src/image/manifest.ts';
import { openStore, type Store } from '../../src/image/store.ts';

/** Writes kernel and initrd into `folder` and describes them. */
export async function tinyImage(
  folder: string,
  kernel: Buffer = randomBytes(200_000),
  initrd: Buffer = Buffer.from('initrd'),
): Promise<Manifest> {
  await writeFile(join(folder, 'kernel'), kernel);
  await writeFile(join(folder, 'initrd'), initrd);
  return {
    version: 1,
    name: 'tiny',
    arch: 'x86_64',
    kernel: await describeFile(join(folder, 'kernel'), 'kernel'),
    initrd: await describeFile(join(folder, 'initrd'), 'initrd'),
    commandLine: 'console=ttyS0',
    memoryMiB: { minimum: 64, default: 64 },
    cpus: 1,
    agent: true,
    consoleDevice: 'ttyS0',
  };
}

export interface TestStore extends AsyncDisposable {
  readonly store: Store;
  readonly cache: string;
}

export async function openTestStore(): Promise<TestStore> {
  const cache = await mkdtemp(join(tmpdir(), 'kith-store-'));
  return {
    cache,
    store: await openStore(cache),
    [Symbol.asyncDispose]: () => rm(cache, { recursive: true, force: true }),
  };
}
