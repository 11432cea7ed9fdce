/** One set-up at a time in a checkout: a lock file that names its living holder. */
import { linkSync, mkdirSync, readFileSync, rmdirSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_AGAIN_MS = 100;
/** Burying a dead holder's lock takes microseconds; a shovel this old belongs to somebody who died over it. */
const SHOVEL_MS = 10_000;

/**
 * Waits for the lock and returns what gives it back. The file appears with its content in one step (link(2)), so a reader
 * never sees half of it; a dead holder's file is removed by one process at a time.
 * @param {string} path
 * @param {{ onWait?: (holder: number) => void }} [options]
 * @returns {Promise<() => void>}
 */
export async function takeLock(path, { onWait = () => {} } = {}) {
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, identity(process.pid));
  try {
    for (let told = false; ; told = true) {
      if (attempt(() => linkSync(draft, path), 'EEXIST')) return () => removeFile(path);
      const holder = readHolder(path);
      if (holder && !isAlive(holder)) bury(path);
      else {
        if (holder && !told) onWait(Number.parseInt(holder, 10));
        await sleep(LOOK_AGAIN_MS);
      }
    }
  } finally {
    removeFile(draft);
  }
}

/** @param {string} path */
function bury(path) {
  const shovel = `${path}.bury`;
  if (!attempt(() => mkdirSync(shovel), 'EEXIST')) {
    attempt(() => {
      if (Date.now() - statSync(shovel).mtimeMs > SHOVEL_MS) rmdirSync(shovel);
    }, 'ENOENT');
    return;
  }
  try {
    // Looked at again: between the first look and the shovel somebody else may have buried it and taken the lock.
    const holder = readHolder(path);
    if (holder && !isAlive(holder)) removeFile(path);
  } finally {
    attempt(() => rmdirSync(shovel), 'ENOENT');
  }
}

/**
 * Process ids are used again, so the start time (field 22 of /proc/<pid>/stat, proc(5)) belongs to the name.
 * @param {number} pid
 * @returns {string}
 */
function identity(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return `${pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    return `${pid}`; // no /proc: the id alone has to do
  }
}

/** @param {string} holder */
function isAlive(holder) {
  const pid = Number.parseInt(holder, 10);
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'ESRCH') return false;
  }
  return identity(pid) === holder;
}

/** @param {string} path */
function readHolder(path) {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined; // given back in this moment
  }
}

/** @param {string} path */
function removeFile(path) {
  attempt(() => unlinkSync(path), 'ENOENT');
}

/**
 * False if it failed with exactly this code.
 * @param {() => void} action
 * @param {string} code
 */
function attempt(action, code) {
  try {
    action();
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== code) throw error;
    return false;
  }
}
