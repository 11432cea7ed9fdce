/** Images on disk, one folder per hash: `<cache>/images/<hash>/`. A folder appears whole or not at all, and never changes. */
import { chmod, mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KithError } from '../base/errors.ts';
import { openRunDirectory } from '../base/guard.ts';
import { HASH_PATTERN } from '../base/ids.ts';
import type { ImageRef } from '../protocol/plan.ts';
import { explainDisk, hashFile } from './files.ts';
import {
  canonicalJson,
  imageBytes,
  manifestFiles,
  manifestHash,
  parseManifestText,
  type Manifest,
} from './manifest.ts';

export interface StoredImage {
  readonly ref: ImageRef;
  readonly manifest: Manifest;
  /** Absolute paths, mode 0444. */
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly disk: { readonly path: string; readonly format: 'raw' } | undefined;
}

export interface TemporaryFolder extends AsyncDisposable {
  readonly path: string;
}

export interface Store {
  /** `<cache>/images`. */
  readonly folder: string;
  has(hash: string): Promise<boolean>;
  /** Undefined if it is not there. Throws `image.corrupt` (and removes the image) if its files are not what was added. */
  get(hash: string): Promise<StoredImage | undefined>;
  /** Takes the files out of `folder`, where each has the name that the manifest gives it, and checks their digests. */
  add(manifest: Manifest, folder: string): Promise<StoredImage>;
  list(): Promise<readonly StoredImage[]>;
  /** Reads and hashes every file. */
  verify(hash: string, signal?: AbortSignal): Promise<void>;
  remove(hash: string): Promise<void>;
  /** A folder on the same file system, for what becomes an image by `add`. It goes when it is disposed, or when we are killed. */
  temporary(): Promise<TemporaryFolder>;
}

const MANIFEST = 'MANIFEST.json';
/** Size and time of each file when it was added: as long as they are the same, a use costs no hashing. */
const STAMPS = 'STAMPS.json';
const isHash = (text: string): boolean => new RegExp(HASH_PATTERN).test(text);

export async function openStore(cacheDir: string): Promise<Store> {
  const folder = join(cacheDir, 'images');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const temporary = (): Promise<TemporaryFolder> => openRunDirectory(folder, '.work-');
  const at = (hash: string, file = ''): string => join(folder, hash, file);

  async function readManifest(hash: string): Promise<Manifest | undefined> {
    if (!isHash(hash)) return undefined;
    let text: string;
    try {
      text = await readFile(at(hash, MANIFEST), 'utf8');
    } catch {
      return undefined;
    }
    try {
      const manifest = parseManifestText(text);
      if (manifestHash(manifest) === hash) return manifest;
    } catch {
      // Not a manifest any more: as corrupt as one with another hash.
    }
    return refuse(hash, MANIFEST);
  }

  async function refuse(hash: string, file: string): Promise<never> {
    const path = at(hash, file);
    await remove(hash);
    throw new KithError({
      code: 'image.corrupt',
      message: `image file ${path} is not what was stored, so the image was removed`,
      hint: 'run the same again: it is built or fetched anew; check the disk if this repeats',
      retry: 'later',
    });
  }

  async function remove(hash: string): Promise<void> {
    if (!isHash(hash)) return;
    // Out of sight first: nobody finds half an image. A reader that has a file open keeps it.
    await using grave = await temporary();
    await rename(at(hash), join(grave.path, hash)).catch(() => {});
  }

  async function check(hash: string, manifest: Manifest, full: boolean, signal?: AbortSignal): Promise<void> {
    const known = await readStamps(at(hash, STAMPS));
    for (const { file, bytes, sha256 } of manifestFiles(manifest)) {
      const found = await stampOf(at(hash, file)).catch(() => undefined);
      if (!found || !found.startsWith(`${bytes} `)) return refuse(hash, file);
      if (!full && known[file] === found) continue;
      if ((await hashFile(at(hash, file), signal)) !== sha256) return refuse(hash, file);
    }
  }

  const stored = (manifest: Manifest, hash: string): StoredImage => ({
    ref: { name: manifest.name, hash, bytes: imageBytes(manifest) },
    manifest,
    kernel: at(hash, manifest.kernel.file),
    initrd: manifest.initrd && at(hash, manifest.initrd.file),
    disk: manifest.disk && { path: at(hash, manifest.disk.file), format: manifest.disk.format },
  });

  async function get(hash: string): Promise<StoredImage | undefined> {
    const manifest = await readManifest(hash);
    if (!manifest) return undefined;
    await check(hash, manifest, false);
    return stored(manifest, hash);
  }

  async function add(manifest: Manifest, source: string): Promise<StoredImage> {
    const hash = manifestHash(manifest);
    const present = await get(hash).catch(() => undefined);
    if (present) return present;
    await using work = await temporary();
    const stage = join(work.path, hash);
    await mkdir(stage, { mode: 0o700 });
    try {
      const stamps: Record<string, string> = {};
      for (const { file, sha256 } of manifestFiles(manifest)) {
        const path = join(source, file);
        if ((await hashFile(path)) !== sha256) {
          throw new KithError({
            code: 'image.hash-mismatch',
            message: `image file ${file} has another digest than its manifest says`,
          });
        }
        await rename(path, join(stage, file));
        await chmod(join(stage, file), 0o444);
        stamps[file] = await stampOf(join(stage, file));
      }
      await writeFile(join(stage, MANIFEST), canonicalJson(manifest), { mode: 0o444 });
      await writeFile(join(stage, STAMPS), JSON.stringify(stamps), { mode: 0o444 });
      await rename(stage, at(hash)).catch(async (error: unknown) => {
        // Another process added the same image in between: equal hashes are equal files.
        if (!(await get(hash))) throw error;
      });
    } catch (error) {
      throw explainDisk(error, `cannot store image ${manifest.name}`);
    }
    return stored(manifest, hash);
  }

  return {
    folder,
    get,
    add,
    remove,
    has: async (hash) => (await readManifest(hash).catch(() => undefined)) !== undefined,
    temporary,
    async list() {
      const images: StoredImage[] = [];
      for (const hash of (await readdir(folder)).filter(isHash).sort()) {
        const manifest = await readManifest(hash).catch(() => undefined);
        if (manifest) images.push(stored(manifest, hash));
      }
      return images;
    },
    async verify(hash, signal) {
      const manifest = await readManifest(hash);
      if (manifest) await check(hash, manifest, true, signal);
    },
  };
}

async function stampOf(path: string): Promise<string> {
  const { size, mtimeMs, ino } = await stat(path);
  return `${size} ${mtimeMs} ${ino}`;
}

async function readStamps(path: string): Promise<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
