/** Makes a fresh checkout runnable, and costs next to nothing when it already is. */
import { accessSync, constants, realpathSync } from 'node:fs';
import module from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { runProgram } from './child.mjs';
import { SetupError } from './error.mjs';
import { takeLock } from './lock.mjs';
import { installPackages, packagesAreThere, pinnedNode } from './npm.mjs';
import { installPrograms, lookAtSystem } from './system.mjs';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
/** The first that has everything that set-up itself uses; npm of older ones cannot read our lock file. */
const OLDEST_NODE = 18;

/** @param {string} line */
const say = (line) => process.stderr.write(`set-up: ${line}\n`);

/**
 * `programs`: QEMU and its like, installed where we may; `purpose`: with it those that only the tests or the bench call.
 * @param {{ root: string, env: NodeJS.ProcessEnv, programs: boolean, purpose: import('./programs.mjs').Purpose | undefined }} options
 */
async function setUp({ root, env, programs, purpose }) {
  if (Number.parseInt(process.versions.node, 10) < OLDEST_NODE) {
    throw new SetupError({
      message: `cannot start: this is Node ${process.versions.node}, and set-up needs ${OLDEST_NODE} or newer`,
      hint: 'install a newer Node (nodejs.org); the version that Kith itself runs on is fetched by set-up',
    });
  }
  const ready = () => packagesAreThere(root) && (!programs || lookAtSystem(env, purpose).missing.length === 0);
  if (ready()) return;
  const giveBack = await lockCheckout(root);
  try {
    // The programs first: without the right to install them everything else would be in vain.
    if (programs) await installPrograms(root, env, purpose, say);
    if (!packagesAreThere(root)) await installPackages(root, env, say);
  } finally {
    giveBack();
  }
}

/**
 * Runs a file of ours on the pinned Node. The exit code is that of the program.
 * @param {string} entry
 * @param {readonly string[]} args
 * @param {{ root?: string, env?: NodeJS.ProcessEnv, programs?: boolean, purpose?: import('./programs.mjs').Purpose | undefined }} [options]
 * @returns {Promise<number>}
 */
export async function run(entry, args, { root = ROOT, env = process.env, programs = true, purpose } = {}) {
  try {
    await setUp({ root, env, programs, purpose });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n${error.hint}\n`);
    return error.exitCode;
  }
  const node = pinnedNode(root);
  // Keeps what Node makes of our TypeScript: 30 MB less memory for an idle peer, and a quicker start (measured: test/bench/first-light.ts).
  const compiled = join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'kith', 'compiled');
  if (realpathSync(node) !== realpathSync(process.execPath)) {
    return runProgram(node, [entry, ...args], { NODE_COMPILE_CACHE: compiled, ...env });
  }
  // We are the pinned Node already, as in `npx kith`: no second process.
  module.enableCompileCache?.(env['NODE_COMPILE_CACHE'] || compiled);
  process.argv = [process.execPath, entry, ...args];
  await import(pathToFileURL(entry).href);
  return process.exitCode === undefined ? 0 : Number(process.exitCode);
}

/** @param {string} root */
async function lockCheckout(root) {
  try {
    accessSync(root, constants.W_OK);
  } catch {
    return () => {}; // somebody else's checkout: nothing of it can be changed, so nothing needs a lock
  }
  return takeLock(join(root, '.set-up.lock'), { onWait: (pid) => say(`waiting for another set-up (process ${pid})`) });
}
