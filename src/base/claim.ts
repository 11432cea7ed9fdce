/** Takes a directory with a fixed name: from nobody, or from an owner that has died. */
import { mkdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KithError } from './errors.ts';
import { isOwnerAlive } from './owner.ts';

/** Names the owner, one line; the watcher of guard.ts reads it too. */
const OWNER_FILE = 'owner';

/** The watcher of a killed owner needs some milliseconds to clean up; after this long nobody will. */
const CLEAN_UP_MS = 2000;
const LOOK_AGAIN_MS = 20;

/** Makes the directory, mode 0700, with `owner` in it. Throws `base.directory-taken` if somebody has it. */
export async function claimDirectory(path: string, owner: string): Promise<void> {
  const patience = performance.now() + CLEAN_UP_MS;
  while (!(await attempt(() => mkdir(path, { mode: 0o700 }), ['EEXIST']))) {
    const holder = await holderOf(path);
    if (holder !== undefined && isOwnerAlive(holder)) throw taken(path, `process ${holder.split(' ')[0]} has it`);
    if (performance.now() < patience) await sleep(LOOK_AGAIN_MS);
    else await bury(path, holder);
  }
  // wx: whoever stood still between the two steps for longer than the others' patience has lost the directory.
  if (
    !(await attempt(
      () => writeFile(join(path, OWNER_FILE), `${owner}\n`, { flag: 'wx', mode: 0o600 }),
      ['EEXIST', 'ENOENT'],
    ))
  ) {
    throw taken(path, 'another process took it in the same moment');
  }
}

/** Moved away first, which one of several can do; what turns out to belong to a living owner is put back. */
async function bury(path: string, holder: string | undefined): Promise<void> {
  if (holder === undefined) {
    if (await attempt(() => rmdir(path), ['ENOTEMPTY', 'EEXIST', 'ENOENT'])) return;
    if ((await holderOf(path)) === undefined) throw taken(path, 'it exists and is not ours');
    return;
  }
  const grave = `${path}.dead-${process.pid}`;
  if (!(await attempt(() => rename(path, grave), ['ENOENT']))) return;
  if ((await holderOf(grave)) === holder) await rm(grave, { recursive: true, force: true });
  else await rename(grave, path);
}

async function holderOf(path: string): Promise<string | undefined> {
  try {
    return (await readFile(join(path, OWNER_FILE), 'utf8')).trim() || undefined;
  } catch {
    return undefined;
  }
}

/** False if it failed with one of these codes. */
async function attempt(action: () => Promise<unknown>, codes: readonly string[]): Promise<boolean> {
  try {
    await action();
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && codes.includes(String(error.code))) return false;
    throw error;
  }
}

const taken = (path: string, why: string) =>
  new KithError({
    code: 'base.directory-taken',
    message: `cannot use ${path}: ${why}`,
    hint: 'choose another name, or remove it if nobody uses it',
  });
