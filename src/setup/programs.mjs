/** Which programs Kith calls, which package of each package manager brings them, and the command that installs those. */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** @typedef {'apt' | 'dnf' | 'pacman' | 'brew'} Manager */

/** @typedef {'tests' | 'bench'} Purpose what is done beyond using Kith */

/**
 * @typedef {object} Program
 * @property {string} name what is looked for on the PATH
 * @property {string} why what Kith does with it
 * @property {Partial<Record<Manager, string>>} packages a manager that is not named has no such package, or its system always has the program
 * @property {Purpose} [only] needed for this alone
 */

/** @type {readonly Program[]} */
export const PROGRAMS = [
  {
    name: 'qemu-system-x86_64',
    why: 'runs the guests',
    packages: { apt: 'qemu-system-x86', dnf: 'qemu-system-x86', pacman: 'qemu-system-x86', brew: 'qemu' },
  },
  {
    name: 'qemu-img',
    why: 'makes the disks of guests',
    packages: { apt: 'qemu-utils', dnf: 'qemu-img', pacman: 'qemu-img', brew: 'qemu' },
  },
  {
    name: 'prosody',
    why: 'is the chat server of "kith host"',
    // Homebrew's own collection has no prosody; this is the tap of the Prosody project (prosody.im/download/start).
    packages: { apt: 'prosody', dnf: 'prosody', pacman: 'prosody', brew: 'prosody/prosody/prosody' },
  },
  {
    name: 'openssl',
    why: 'makes the certificate of the chat server',
    packages: { apt: 'openssl', dnf: 'openssl', pacman: 'openssl', brew: 'openssl' },
  },
  {
    name: 'setpriv',
    why: 'ties children to their parent, so that nothing lingers',
    packages: { apt: 'util-linux', dnf: 'util-linux', pacman: 'util-linux' },
  },
  {
    name: 'chrt',
    why: 'lets guests run only when the host is idle',
    packages: { apt: 'util-linux', dnf: 'util-linux', pacman: 'util-linux' },
  },
  {
    name: 'prlimit',
    why: 'limits what guests take',
    packages: { apt: 'util-linux', dnf: 'util-linux', pacman: 'util-linux' },
  },
  {
    // Needs namespaces of Linux: on macOS guests have no box.
    name: 'bwrap',
    why: 'keeps guests from the files and the network of their host',
    packages: { apt: 'bubblewrap', dnf: 'bubblewrap', pacman: 'bubblewrap' },
  },
  {
    name: 'ps',
    why: 'measures the memory of guests',
    packages: { apt: 'procps', dnf: 'procps-ng', pacman: 'procps-ng' },
  },
  // Arch and Homebrew do not package apt: there images come from peers.
  { name: 'apt-get', why: 'fetches the packages that images are built from', packages: { apt: 'apt', dnf: 'apt' } },
  { name: 'dpkg-deb', why: 'unpacks the packages that images are built from', packages: { apt: 'dpkg', dnf: 'dpkg' } },
  {
    name: 'busybox',
    why: 'checks the archives that we write',
    packages: { apt: 'busybox-static', dnf: 'busybox', pacman: 'busybox' },
    only: 'tests',
  },
  {
    name: 'ssh-keygen',
    why: 'checks the keys that we write',
    packages: { apt: 'openssh-client', dnf: 'openssh-clients', pacman: 'openssh' },
    only: 'tests',
  },
  {
    name: 'tshark',
    why: 'reads the captures that we write',
    packages: { apt: 'tshark', dnf: 'wireshark-cli', pacman: 'wireshark-cli', brew: 'wireshark' },
    only: 'tests',
  },
  ...[
    { name: 'ip', why: 'makes the networks of the bench', apt: 'iproute2' },
    { name: 'iperf3', why: 'measures throughput', apt: 'iperf3' },
    { name: 'ping', why: 'measures round trips', apt: 'iputils-ping' },
    { name: 'tincd', why: 'is compared with Kith', apt: 'tinc' },
    { name: 'openvpn', why: 'is compared with Kith', apt: 'openvpn' },
    { name: 'edge', why: 'is compared with Kith', apt: 'n2n' },
    { name: 'fastd', why: 'is compared with Kith', apt: 'fastd' },
    { name: 'vde_switch', why: 'is compared with Kith', apt: 'vde2' },
    { name: 'vde_plug', why: 'is compared with Kith', apt: 'vdeplug' },
    { name: 'ssh', why: 'joins the switches of VDE', apt: 'openssh-client' },
    { name: 'sshd', why: 'joins the switches of VDE', apt: 'openssh-server' },
  ].map(({ name, why, apt }) => ({ name, why, packages: { apt }, only: /** @type {const} */ ('bench') })),
];

/** @type {readonly { manager: Manager, program: string, systems: string, command: string }[]} */
export const MANAGERS = [
  {
    manager: 'apt',
    program: 'apt-get',
    systems: 'Debian, Ubuntu',
    command: 'sudo apt-get install --no-install-recommends',
  },
  { manager: 'dnf', program: 'dnf', systems: 'Fedora', command: 'sudo dnf install' },
  { manager: 'pacman', program: 'pacman', systems: 'Arch', command: 'sudo pacman -S --needed' },
  { manager: 'brew', program: 'brew', systems: 'macOS', command: 'brew install' },
];

/**
 * The same places as findProgram of base/process.ts, which cannot be imported before TypeScript runs.
 * @param {string} name
 * @param {NodeJS.ProcessEnv} env
 * @returns {string | undefined}
 */
export function findProgram(name, env) {
  const folders = [...(env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  return folders
    .filter(Boolean)
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return statSync(path).isFile();
      } catch {
        return false;
      }
    });
}

/**
 * The first package manager that is there; on macOS always Homebrew.
 * @param {(name: string) => boolean} has
 * @param {NodeJS.Platform} platform
 * @returns {Manager | undefined}
 */
export function findManager(has, platform) {
  if (platform === 'darwin') return 'brew';
  // apt last: Fedora and Arch can have it too, for building our images; brew last of all, as a guest on Linux.
  const order = /** @type {const} */ (['dnf', 'pacman', 'apt', 'brew']);
  return order.find((manager) => has(MANAGERS.find((entry) => entry.manager === manager)?.program ?? ''));
}

/**
 * Programs that are not there although this machine could have them.
 * @param {{ has: (name: string) => boolean, manager: Manager | undefined, purpose?: Purpose | undefined }} machine
 * @returns {Program[]}
 */
export function missingPrograms({ has, manager, purpose }) {
  return PROGRAMS.filter(
    ({ name, packages, only }) =>
      (only === undefined || only === purpose) && packages[manager ?? 'apt'] !== undefined && !has(name),
  );
}

/**
 * Each package once, in the order of the table.
 * @param {readonly Program[]} programs
 * @param {Manager} manager
 * @returns {string[]}
 */
export function packagesFor(programs, manager) {
  return [...new Set(programs.flatMap(({ packages }) => packages[manager] ?? []))];
}

/**
 * What a person can type, for every package manager we know, that of this machine first.
 * @param {readonly Program[]} programs
 * @param {Manager | undefined} here
 * @returns {string}
 */
export function installCommands(programs, here) {
  return [...MANAGERS]
    .sort((one, other) => Number(other.manager === here) - Number(one.manager === here))
    .map(({ manager, systems, command }) => ({ systems, command, packages: packagesFor(programs, manager) }))
    .filter(({ packages }) => packages.length > 0)
    .map(({ systems, command, packages }) => `  ${`${systems}:`.padEnd(16)}${command} ${packages.join(' ')}`)
    .join('\n');
}
