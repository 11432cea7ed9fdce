/** One process of this user at a time: a directory as a lock, free again when its holder has died. */
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { claimDirectory } from './claim.ts';
import { errorCode } from './errors.ts';
import { ownerOf } from './owner.ts';

/** Short beside what a lock is held for: a few writes of small files, or a registration. */
const LOOK_AGAIN_MS = 20;

/** Waits while others have it. Throws `base.directory-taken` after `patienceMs`, and the abort of `signal`. */
export async function takeLock(
  path: string,
  options: { readonly patienceMs: number; readonly signal?: AbortSignal | undefined },
): Promise<AsyncDisposable> {
  const deadline = performance.now() + options.patienceMs;
  for (;;) {
    try {
      await claimDirectory(path, ownerOf(process.pid));
      return { [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
    } catch (error) {
      if (errorCode(error) !== 'base.directory-taken' || performance.now() > deadline) throw error;
      await sleep(LOOK_AGAIN_MS, undefined, options.signal ? { signal: options.signal } : {});
    }
  }
}
