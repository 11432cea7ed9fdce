/** The npm packages of the lock file, and among them the Node that everything of ours runs on. */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SetupError } from './error.mjs';
import { succeeds } from './child.mjs';

/** @typedef {{ version?: string, integrity?: string, optional?: boolean, devOptional?: boolean, peer?: boolean }} LockEntry */
/** @typedef {{ packages?: Record<string, LockEntry> }} LockFile */

/**
 * Not `npm ci`: from 11.19 on it refuses a lock file that lacks optional packages of other platforms, which npm itself leaves
 * out when the registry at hand does not have them (measured). With --no-save neither package.json nor the lock file changes,
 * and what the lock file names is installed in that version and checked against its hash.
 * The rest: NODE_ENV=production must not leave out the type checker and the tests, each time anew; and the packages need a
 * newer Node than the one that installs them, about which npm warns at length.
 */
const INSTALL = [
  'install',
  '--no-save',
  '--include=dev',
  '--include=optional',
  '--no-audit',
  '--no-fund',
  '--loglevel=error',
];

/** @param {string} root */
export const pinnedNode = (root) => join(root, 'node_modules', 'node', 'bin', 'node');

/**
 * Is what npm has written down in node_modules/.package-lock.json what package-lock.json asks for? npm writes that file at the
 * end of an install, so an interrupted one is not taken for a whole.
 * @param {LockFile} wanted
 * @param {LockFile} installed
 * @returns {boolean}
 */
export function packagesMatch(wanted, installed) {
  const there = installed.packages ?? {};
  return Object.entries(wanted.packages ?? {}).every(([path, entry]) => {
    if (path === '') return true;
    const found = there[path];
    // Optional packages are for other platforms; npm leaves those out.
    if (!found) return entry.optional === true || entry.devOptional === true;
    return found.version === entry.version && found.integrity === entry.integrity;
  });
}

/**
 * @param {string} root
 * @returns {boolean}
 */
export function packagesAreThere(root) {
  const installed = readJson(join(root, 'node_modules', '.package-lock.json'));
  const wanted = readJson(join(root, 'package-lock.json'));
  return installed !== undefined && wanted !== undefined && packagesMatch(wanted, installed) && nodeIsProven(root);
}

/**
 * @param {string} root
 * @param {NodeJS.ProcessEnv} env
 * @param {(line: string) => void} say
 */
export async function installPackages(root, env, say) {
  const installed = readJson(join(root, 'node_modules', '.package-lock.json'));
  const wanted = readJson(join(root, 'package-lock.json'));
  if (!installed || !wanted || !packagesMatch(wanted, installed)) {
    say('installing the npm packages');
    // NODE_ENV=production or an omit setting would leave out the type checker and the tests, each time anew.
    if (!(await npm(root, env, INSTALL))) {
      throw new SetupError({
        message: 'cannot install the npm packages: npm failed, its messages are above',
        hint: 'check that this machine reaches the npm registry (npm ping), then run the same command again',
      });
    }
  }
  await proveNode(root, env, say);
  linkCommand(root);
}

/**
 * The package `node` brings its program by an install script. npm can be told to run none (ignore-scripts), and from
 * version 12 on it runs none that nobody allowed.
 * @param {string} root
 * @param {NodeJS.ProcessEnv} env
 * @param {(line: string) => void} say
 */
async function proveNode(root, env, say) {
  const node = pinnedNode(root);
  const runs = async () => existsSync(node) && (await succeeds(node, ['-e', ''], { cwd: root, env, quiet: true }));
  if (!(await runs())) {
    say('fetching the pinned Node');
    const folder = join(root, 'node_modules', 'node');
    await npm(root, env, ['rebuild', 'node', '--ignore-scripts=false', '--loglevel=error']);
    if (!(await runs())) {
      await succeeds(process.execPath, ['installArchSpecificPackage.js'], { cwd: folder, env });
    }
  }
  if (!(await runs())) {
    throw new SetupError({
      message: `cannot run the Node of this project: ${node} is missing or does not start`,
      hint: 'check that this machine reaches the npm registry (npm ping) and has glibc (not Alpine), remove node_modules, then run the same command again',
    });
  }
  writeFileSync(proofFile(root), stamp(node));
}

/** @param {string} root */
const proofFile = (root) => join(root, 'node_modules', '.kith-node');

/**
 * Starting Node to see that it starts takes longer than all other checks together, so success is written down.
 * @param {string} root
 */
function nodeIsProven(root) {
  try {
    return readFileSync(proofFile(root), 'utf8') === stamp(pinnedNode(root));
  } catch {
    return false;
  }
}

/** @param {string} path */
function stamp(path) {
  const { size, mtimeMs } = statSync(path);
  return `${process.platform} ${process.arch} ${size} ${mtimeMs}`;
}

/**
 * npm links the commands of dependencies, never those of the package itself; without this link `npx kith` would ask the
 * registry, where that name belongs to somebody else.
 * @param {string} root
 */
function linkCommand(root) {
  const link = join(root, 'node_modules', '.bin', 'kith');
  mkdirSync(dirname(link), { recursive: true });
  rmSync(link, { force: true });
  symlinkSync(join('..', '..', 'src', 'cli', 'kith.mjs'), link);
}

/**
 * The npm that runs us, if one does, else the one on the PATH.
 * @param {string} root
 * @param {NodeJS.ProcessEnv} env
 * @param {readonly string[]} args
 */
function npm(root, env, args) {
  const cli = env['npm_execpath'];
  return cli && /npm-cli\.c?js$/.test(cli) && existsSync(cli)
    ? succeeds(process.execPath, [cli, ...args], { cwd: root, env })
    : succeeds('npm', args, { cwd: root, env });
}

/**
 * @param {string} path
 * @returns {LockFile | undefined}
 */
function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}
