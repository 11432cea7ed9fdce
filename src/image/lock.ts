/** One builder at a time among processes of one user: a lock file whose holder is alive, by process id and by a beating heart. */
import { readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { shortId } from '../base/ids.ts';

/** The holder touches its file this often. */
const BEAT_MS = 2000;
/** Older than this is a lock whose holder died and whose process id somebody else has now. */
const STALE_MS = 20_000;
const LOOK_AGAIN_MS = 200;

/**
 * Waits for the lock. A stolen lock (two takers at the same moment) costs a second build, never a wrong one: images are
 * added by hash.
 */
export async function takeLock(
  path: string,
  options: { readonly signal?: AbortSignal | undefined; readonly onWait?: (holder: number) => void } = {},
): Promise<AsyncDisposable> {
  let told = false;
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      await writeFile(path, String(process.pid), { flag: 'wx', mode: 0o600 });
      return holdLock(path);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    const holder = await livingHolder(path);
    if (holder === undefined) {
      const grave = `${path}.${shortId()}`;
      await rename(path, grave).catch(() => {});
      await rm(grave, { force: true });
      continue;
    }
    if (!told) options.onWait?.(holder);
    told = true;
    await sleep(LOOK_AGAIN_MS, undefined, options.signal ? { signal: options.signal } : {});
  }
}

function holdLock(path: string): AsyncDisposable {
  const beat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {});
  }, BEAT_MS).unref();
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(beat);
      await rm(path, { force: true });
    },
  };
}

async function livingHolder(path: string): Promise<number | undefined> {
  try {
    const pid = Number(await readFile(path, 'utf8'));
    const { mtimeMs } = await stat(path);
    const age = Date.now() - mtimeMs;
    // A file that was made this instant may still be empty.
    if (!Number.isInteger(pid) || pid <= 0) return age < BEAT_MS ? 0 : undefined;
    if (age > STALE_MS) return undefined;
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM' ? -1 : undefined;
  }
}
