/** One process of this user at a time: a directory as a lock, free again when its holder has died. */
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { claimDirectory } from './claim.ts';
import { errorCode } from './errors.ts';
import { ownerOf } from './owner.ts';

/** Short beside what a lock is held for: a few writes of small files, a registration, the build of an image. */
const LOOK_AGAIN_MS = 20;

/** Waits while others have it, for ever unless told otherwise. Throws `base.directory-taken` after `patienceMs`, and the abort of `signal`. */
export async function takeLock(
  path: string,
  options: {
    readonly patienceMs?: number;
    readonly signal?: AbortSignal | undefined;
    /** Called once if somebody else has it. */
    readonly onWait?: () => void;
  },
): Promise<AsyncDisposable> {
  const deadline = performance.now() + (options.patienceMs ?? Number.POSITIVE_INFINITY);
  let told = false;
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      await claimDirectory(path, ownerOf(process.pid));
      return { [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
    } catch (error) {
      if (errorCode(error) !== 'base.directory-taken' || performance.now() > deadline) throw error;
      if (!told) options.onWait?.();
      told = true;
      await sleep(LOOK_AGAIN_MS, undefined, options.signal ? { signal: options.signal } : {});
    }
  }
}
