/** Debian packages without root: apt with a private state, so the host's own package database is neither read nor changed. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { KithError } from '../../src/base/errors.ts';
import { findProgram, runCommand } from '../../src/base/process.ts';

/** How to call apt: options that select sources and keep all writing below our folder. */
export interface Apt {
  readonly options: readonly string[];
  readonly folder: string;
}

export interface AptPackage {
  readonly name: string;
  readonly version: string;
  readonly bytes: number;
  /** What apt says about it, one line: address, size, digest. Equal lines are equal files. */
  readonly line: string;
}

/** Resolving or fetching against a slow mirror; apt itself gives up earlier on a dead one. */
const APT_TIMEOUT_MS = 300_000;

/** Only names apt prints go back to apt; anything else would be an option or a path. */
const PACKAGE_NAME = /^[a-z0-9][a-z0-9+.-]*$/;

/** The release that the recipes are tested with, for hosts whose own sources do not have what we need (Ubuntu). */
const DEBIAN_SOURCES = (keyring: string) =>
  ['http://deb.debian.org/debian bookworm main', 'http://deb.debian.org/debian-security bookworm-security main']
    .map((source) => `deb [arch=amd64 signed-by=${keyring}] ${source}\n`)
    .join('');

/** The host's sources and package lists, with everything that apt writes in `folder`. */
export async function hostApt(folder: string): Promise<Apt> {
  if (!findProgram('apt-get') || !findProgram('dpkg-deb')) {
    throw new KithError({
      code: 'image.no-apt',
      message: 'cannot build an image: apt-get and dpkg-deb not found, and images are built from Debian packages',
      hint: 'build it on a Debian or Ubuntu machine and let peers fetch it from there, or install apt and dpkg',
    });
  }
  await mkdir(join(folder, 'archives', 'partial'), { recursive: true });
  return { folder, options: privateOptions(folder) };
}

/** Debian's own archive with package lists in `folder`, downloaded now if asked to. */
export async function debianApt(
  folder: string,
  { refresh, signal }: { readonly refresh: boolean; readonly signal?: AbortSignal | undefined },
): Promise<Apt> {
  const host = await hostApt(folder);
  for (const part of ['lists/partial', 'sources.d', 'etc']) await mkdir(join(folder, part), { recursive: true });
  const keyring = await findKeyring(host, signal);
  await writeFile(join(folder, 'sources.list'), DEBIAN_SOURCES(keyring));
  const apt: Apt = {
    folder,
    options: [
      ...host.options,
      ...asOptions([
        'APT::Architecture=amd64',
        `Dir::Etc::sourcelist=${join(folder, 'sources.list')}`,
        `Dir::Etc::sourceparts=${join(folder, 'sources.d')}`,
        `Dir::State::Lists=${join(folder, 'lists')}`,
      ]),
    ],
  };
  if (refresh) await run(apt, 'apt-get', ['update'], 'cannot read the package lists of deb.debian.org', signal);
  return apt;
}

function privateOptions(folder: string): string[] {
  const values = [
    'Dir::State::status=/dev/null',
    `Dir::Cache::archives=${join(folder, 'archives')}`,
    'Dir::Cache::pkgcache=',
    'Dir::Cache::srcpkgcache=',
    'Debug::NoLocking=1',
    'APT::Install-Recommends=0',
    'APT::Sandbox::User=',
  ];
  return asOptions(values);
}

const asOptions = (values: readonly string[]): string[] => values.flatMap((value) => ['-o', value]);

async function findKeyring(apt: Apt, signal?: AbortSignal): Promise<string> {
  const installed = '/usr/share/keyrings/debian-archive-keyring.gpg';
  if (existsSync(installed)) return installed;
  // Ubuntu carries Debian's keys as a package of its own, so the chain of trust starts at the host's own sources.
  await run(
    apt,
    'apt-get',
    ['download', 'debian-archive-keyring'],
    "cannot fetch Debian's archive keys",
    signal,
    apt.folder,
  );
  const deb = (await readdir(apt.folder)).find((name) => name.startsWith('debian-archive-keyring_'));
  if (deb) await unpack(join(apt.folder, deb), join(apt.folder, 'keys'), signal);
  return join(apt.folder, 'keys', installed);
}

/** The packages and all they depend on, as apt would install them on an empty system. */
export async function resolvePackages(apt: Apt, names: readonly string[], signal?: AbortSignal): Promise<AptPackage[]> {
  const what = `apt cannot resolve ${names.join(' ')}`;
  return parseUris(await run(apt, 'apt-get', ['--print-uris', '-y', 'install', ...names], what, signal));
}

/** One package without what it depends on. */
export async function resolvePackage(apt: Apt, name: string, signal?: AbortSignal): Promise<AptPackage[]> {
  return parseUris(await run(apt, 'apt-get', ['--print-uris', 'download', name], `apt does not know ${name}`, signal));
}

/** The first dependency of a meta package whose name matches. */
export async function dependencyOf(apt: Apt, name: string, pattern: RegExp, signal?: AbortSignal): Promise<string> {
  const text = await run(apt, 'apt-cache', ['depends', name], `apt does not know ${name}`, signal);
  const found = text
    .split('\n')
    .map((line) => /^\s+Depends: (\S+)$/.exec(line)?.[1])
    .find((dependency) => dependency !== undefined && pattern.test(dependency));
  if (!found)
    throw new KithError({ code: 'image.packages', message: `${name} depends on nothing like ${pattern.source}` });
  return found;
}

/** Downloads exactly these versions into `folder`/debs; apt checks the digests that the signed package lists name. */
export async function downloadPackages(
  apt: Apt,
  packages: readonly AptPackage[],
  signal?: AbortSignal,
): Promise<string[]> {
  const debs = join(apt.folder, 'debs');
  await mkdir(debs, { recursive: true });
  const wanted = packages.map(({ name, version }) => `${name}=${version}`);
  await run(apt, 'apt-get', ['download', ...wanted], 'cannot download packages', signal, debs);
  return (await readdir(debs))
    .filter((name) => name.endsWith('.deb'))
    .sort()
    .map((name) => join(debs, name));
}

export async function unpack(deb: string, folder: string, signal?: AbortSignal): Promise<void> {
  const result = await runCommand('dpkg-deb', ['-x', deb, folder], {
    timeoutMs: APT_TIMEOUT_MS,
    ...(signal ? { signal } : {}),
  });
  signal?.throwIfAborted();
  if (result.exitCode !== 0) {
    throw new KithError({
      code: 'image.packages',
      message: `cannot unpack ${basename(deb)}: ${lastLine(result.stderr)}`,
    });
  }
}

/** Lines of `--print-uris`: 'URL' NAME_VERSION_ARCH.deb SIZE DIGEST. */
export function parseUris(text: string): AptPackage[] {
  const packages: AptPackage[] = [];
  for (const line of text.split('\n')) {
    const [, file, bytes] = /^'[^']+' (\S+\.deb) (\d+)/.exec(line) ?? [];
    const [name, version] = file?.split('_') ?? [];
    if (!name || !version || !PACKAGE_NAME.test(name)) continue;
    packages.push({ name, version: decodeURIComponent(version), bytes: Number(bytes), line });
  }
  return packages.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function run(
  apt: Apt,
  program: string,
  args: readonly string[],
  failure: string,
  signal?: AbortSignal,
  cwd?: string,
): Promise<string> {
  const result = await runCommand(program, [...apt.options, ...args], {
    timeoutMs: APT_TIMEOUT_MS,
    env: { LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive' },
    ...(cwd ? { cwd } : {}),
    ...(signal ? { signal } : {}),
  });
  signal?.throwIfAborted();
  if (result.exitCode === 0) return result.stdout;
  throw new KithError({
    code: 'image.packages',
    message: `${failure}: ${lastLine(result.stderr)}`,
    hint: 'check the network and the package sources, then try again (apt-get update refreshes stale lists)',
    retry: 'later',
  });
}

const lastLine = (text: string): string =>
  text
    .trim()
    .split('\n')
    .findLast((line) => line.startsWith('E:')) ??
  (text.trim().split('\n').at(-1) || 'no reason given');
