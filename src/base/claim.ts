/** Takes a directory with a fixed name: from nobody, or from an owner that has died. */
import { randomBytes } from 'node:crypto';
import { link, mkdir, readdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises';
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
    if (holder && isOwnerAlive(holder.name)) throw taken(path, `process ${holder.name.split(' ')[0]} has it`);
    if (performance.now() < patience) await sleep(LOOK_AGAIN_MS);
    else if (holder && (await inherit(path, holder, owner))) return;
    else if (!holder) await removeEmpty(path);
  }
  // Whoever stood still between the two steps for longer than the others' patience has lost the directory.
  if (!(await sign(path, owner))) throw taken(path, 'another process took it in the same moment');
}

interface Holder {
  /** In the directory: `owner`, or a mark that a process made which died while it took over. */
  readonly file: string;
  readonly name: string;
}

/**
 * Takes the directory of a dead owner; false: look again. Of many who try, several may move the owner's file away one after the
 * other, but `sign` succeeds once. Who finds that he has moved the file of a living owner puts it back.
 */
async function inherit(path: string, holder: Holder, owner: string): Promise<boolean> {
  const mark = `${OWNER_FILE}.${randomBytes(6).toString('hex')}`;
  if (!(await attempt(() => rename(join(path, holder.file), join(path, mark)), ['ENOENT']))) return false;
  if ((await textOf(join(path, mark))) !== holder.name) {
    await attempt(() => link(join(path, mark), join(path, OWNER_FILE)), ['EEXIST', 'ENOENT']);
    await rm(join(path, mark), { force: true });
    return false;
  }
  const mine = await sign(path, owner);
  await rm(join(path, mark), { force: true });
  if (!mine) throw taken(path, 'another process took it in the same moment');
  const left = (await readdir(path)).filter((name) => !name.startsWith(OWNER_FILE));
  for (const name of left) await rm(join(path, name), { recursive: true, force: true });
  return true;
}

async function removeEmpty(path: string): Promise<void> {
  if (await attempt(() => rmdir(path), ['ENOTEMPTY', 'EEXIST', 'ENOENT'])) return;
  const empty = await attempt(() => readdir(path), ['ENOENT']);
  if (empty && !(await holderOf(path))) throw taken(path, 'it exists and is not ours');
}

/** wx: at most one of all who try. */
const sign = (path: string, owner: string): Promise<boolean> =>
  attempt(() => writeFile(join(path, OWNER_FILE), `${owner}\n`, { flag: 'wx', mode: 0o600 }), ['EEXIST', 'ENOENT']);

async function holderOf(path: string): Promise<Holder | undefined> {
  const names = await readdir(path).catch(() => []);
  for (const file of [OWNER_FILE, ...names.filter((name) => name.startsWith(`${OWNER_FILE}.`))]) {
    const name = await textOf(join(path, file));
    if (name) return { file, name };
  }
  return undefined;
}

const textOf = (file: string): Promise<string> =>
  readFile(file, 'utf8').then(
    (text) => text.trim(),
    () => '',
  );

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
