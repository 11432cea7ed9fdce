/** The programs that npm does not bring: found, installed where we may, else asked for. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { succeeds } from './child.mjs';
import { SetupError } from './error.mjs';
import { findManager, findProgram, installCommands, missingPrograms, packagesFor } from './programs.mjs';

const INSTALLER = fileURLToPath(new URL('./debian.sh', import.meta.url));

/**
 * @param {NodeJS.ProcessEnv} env
 * @param {import('./programs.mjs').Purpose | undefined} purpose
 */
export function lookAtSystem(env, purpose) {
  /** @param {string} name */
  const has = (name) => findProgram(name, env) !== undefined;
  const manager = findManager(has, process.platform);
  return { manager, missing: missingPrograms({ has, manager, purpose }) };
}

/**
 * @param {string} root
 * @param {NodeJS.ProcessEnv} env
 * @param {import('./programs.mjs').Purpose | undefined} purpose
 * @param {(line: string) => void} say
 */
export async function installPrograms(root, env, purpose, say) {
  const { manager, missing } = lookAtSystem(env, purpose);
  if (missing.length === 0) return;
  const names = missing.map(({ name }) => name).join(', ');
  const prefix = manager === 'apt' ? asRoot(env) : undefined;
  if (!prefix) throw notInstalled(missing, names, manager);
  const packages = packagesFor(missing, 'apt');
  say(
    `installing the Debian packages ${packages.join(' ')}, because ${names} ${missing.length === 1 ? 'is' : 'are'} missing`,
  );
  const [file = '', ...args] = [...prefix, '/bin/sh', INSTALLER, ...packages];
  const installed = await succeeds(file, args, { cwd: root, env });
  const left = lookAtSystem(env, purpose).missing;
  if (left.length === 0) return;
  throw new SetupError({
    message: `cannot install ${left.map(({ name }) => name).join(', ')}: apt-get ${installed ? 'has installed the packages, but the programs are not on the PATH' : 'failed, its messages are above'}`,
    hint: `check that this machine reaches its package sources, or install by hand:\n${installCommands(left, manager)}`,
  });
}

/**
 * How to become root without asking anybody: undefined if there is no way.
 * @param {NodeJS.ProcessEnv} env
 * @returns {readonly string[] | undefined}
 */
function asRoot(env) {
  if (process.getuid?.() === 0) return [];
  const sudo = findProgram('sudo', env);
  if (!sudo) return undefined;
  const { status } = spawnSync(sudo, ['-n', 'true'], { stdio: 'ignore', env });
  return status === 0 ? [sudo, '-n'] : undefined;
}

/**
 * @param {ReturnType<typeof missingPrograms>} missing
 * @param {string} names
 * @param {ReturnType<typeof findManager>} manager
 */
function notInstalled(missing, names, manager) {
  const reasons = missing.map(({ name, why }) => `  ${name.padEnd(20)}${why}`).join('\n');
  const may = manager === 'apt' ? ', and we may not install packages here (no root, no sudo without a password)' : '';
  return new SetupError({
    message: `cannot start: ${names} not found${may}\n${reasons}`,
    hint: `install what is missing, then run the same command again:\n${installCommands(missing, manager)}`,
  });
}
