/** Files with their digests: hash while reading, never a whole image in memory. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { KithError } from '../base/errors.ts';
import type { ImageFile } from './manifest.ts';

/** Large reads: hashing is faster than many small trips through the thread pool. */
const READ_BYTES = 1 << 20;

export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const options = { highWaterMark: READ_BYTES, ...(signal ? { signal } : {}) };
  for await (const chunk of createReadStream(path, options)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** The manifest's entry for a file that was just made. */
export async function describeFile(path: string, file: string, signal?: AbortSignal): Promise<ImageFile> {
  const { size } = await stat(path);
  return { file, sha256: await hashFile(path, signal), bytes: size };
}

/** What the file system says when it is full, as one of our errors; everything else unchanged. */
export function explainDisk(error: unknown, what: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new KithError({
    code: 'image.disk-full',
    message: `${what}: no space left on the disk`,
    hint: 'free some space, or point XDG_CACHE_HOME to a larger disk',
    cause: error,
  });
}
