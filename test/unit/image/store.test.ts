/** The store: an image is there whole and unchanged, or not at all. */
import { chmod, readdir, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openStore } from '../../../src/image/store.ts';
import { openTestStore, tinyImage, type TestStore } from '../../harness/tiny-image.ts';

async function storeTiny({ store }: TestStore, kernel?: Buffer) {
  await using folder = await store.temporary();
  return await store.add(await tinyImage(folder.path, kernel), folder.path);
}

/** Overwrites a stored file in place; `quiet` restores its time, as a broken disk would. */
async function damage(path: string, quiet: boolean): Promise<void> {
  const { atime, mtime, size } = await stat(path);
  await chmod(path, 0o644);
  await writeFile(path, Buffer.alloc(size, 1));
  if (quiet) await utimes(path, atime, mtime);
}

describe('the image store', () => {
  it('keeps an image read-only under its hash, and finds it again', async () => {
    await using test = await openTestStore();
    const image = await storeTiny(test);
    expect(await test.store.has(image.ref.hash)).toBe(true);
    expect(await test.store.get(image.ref.hash)).toEqual(image);
    expect((await stat(image.kernel)).mode & 0o777).toBe(0o444);
    expect(image.ref).toMatchObject({ name: 'tiny', bytes: 200_006 });
    expect(await (await openStore(test.cache)).list()).toEqual([image]);
    await test.store.verify(image.ref.hash);
  });

  it('knows nothing of images that it does not have, whatever they are called', async () => {
    await using test = await openTestStore();
    for (const hash of ['0'.repeat(64), '../../etc', '', 'A'.repeat(64)]) {
      expect([await test.store.has(hash), await test.store.get(hash)]).toEqual([false, undefined]);
      await test.store.remove(hash);
      await test.store.verify(hash);
    }
  });

  it('refuses files that are not those of the manifest, and keeps nothing of them', async () => {
    await using test = await openTestStore();
    const folder = await test.store.temporary();
    const manifest = await tinyImage(folder.path);
    await writeFile(join(folder.path, 'kernel'), Buffer.alloc(200_000));
    await expect(test.store.add(manifest, folder.path)).rejects.toMatchObject({ code: 'image.hash-mismatch' });
    await folder[Symbol.asyncDispose]();
    expect(await readdir(test.store.folder)).toEqual([]);
  });

  it('notices a changed file at the next use, names it, and removes the image', async () => {
    await using test = await openTestStore();
    const image = await storeTiny(test);
    await damage(image.kernel, false);
    await expect(test.store.get(image.ref.hash)).rejects.toMatchObject({
      code: 'image.corrupt',
      message: expect.stringContaining(image.kernel) as string,
    });
    expect(await test.store.has(image.ref.hash)).toBe(false);
    expect(await readdir(test.store.folder)).toEqual([]);
  });

  it('notices a shortened file, whatever its time says', async () => {
    await using test = await openTestStore();
    const image = await storeTiny(test);
    const { atime, mtime } = await stat(image.kernel);
    await truncate(image.kernel, 100).catch(async () => {
      await chmod(image.kernel, 0o644);
      await truncate(image.kernel, 100);
    });
    await utimes(image.kernel, atime, mtime);
    await expect(test.store.get(image.ref.hash)).rejects.toMatchObject({ code: 'image.corrupt' });
  });

  it('finds silent damage when it is asked to verify', async () => {
    await using test = await openTestStore();
    const image = await storeTiny(test);
    await damage(image.kernel, true);
    await expect(test.store.verify(image.ref.hash)).rejects.toMatchObject({ code: 'image.corrupt' });
    expect(await test.store.has(image.ref.hash)).toBe(false);
  });

  it('forgives a file that was only touched', async () => {
    await using test = await openTestStore();
    const image = await storeTiny(test);
    await utimes(image.kernel, new Date(), new Date(0));
    expect(await test.store.get(image.ref.hash)).toEqual(image);
  });

  it('refuses a manifest that somebody edited', async () => {
    await using test = await openTestStore();
    const image = await storeTiny(test);
    const path = join(test.store.folder, image.ref.hash, 'MANIFEST.json');
    await chmod(path, 0o644);
    await writeFile(path, JSON.stringify({ ...image.manifest, commandLine: 'init=/bin/sh' }));
    await expect(test.store.get(image.ref.hash)).rejects.toMatchObject({ code: 'image.corrupt' });
  });

  it('takes the same image from two at once, and from two processes one after the other', async () => {
    await using test = await openTestStore();
    const kernel = Buffer.alloc(50_000, 7);
    const images = await Promise.all(Array.from({ length: 4 }, () => storeTiny(test, kernel)));
    expect(new Set(images.map(({ ref }) => ref.hash)).size).toBe(1);
    await storeTiny({ ...test, store: await openStore(test.cache) }, kernel);
    expect(await readdir(test.store.folder)).toEqual([images[0]?.ref.hash]);
  });
});
