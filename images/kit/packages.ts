/** Which package versions go into an image, and a fingerprint of them that costs no call of apt while nothing has changed. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KithError } from '../../src/base/errors.ts';
import { shortId } from '../../src/base/ids.ts';
import { debianApt, dependencyOf, hostApt, resolvePackage, resolvePackages, type Apt, type AptPackage } from './apt.ts';

export interface PackageChoice {
  /** A meta package, and what the kernel package that it depends on is called. */
  readonly kernel: { readonly meta: string; readonly pattern: RegExp };
  readonly programs: readonly string[];
  /** Packages of the closure that are left out. */
  readonly skip: RegExp;
}

export interface PackagePlan {
  readonly apt: Apt;
  readonly packages: readonly AptPackage[];
  readonly bytes: number;
}

/** Where apt keeps the package lists of the host (apt.conf(5), Dir::State::Lists). */
const HOST_LISTS = '/var/lib/apt/lists';

export interface FingerprintOptions {
  /** Folders whose files decide what is built. */
  readonly sources: readonly string[];
  readonly packages: PackageChoice;
  readonly stateDir: string;
  readonly signal?: AbortSignal | undefined;
}

/** Asks apt only when its lists changed since the last time; the answer is remembered in the state folder. */
export async function fingerprint({ sources, packages, stateDir, signal }: FingerprintOptions): Promise<string> {
  const hash = createHash('sha256').update(process.versions['zstd'] ?? '');
  for (const folder of sources) await hashFolder(hash, folder);
  const recipe = hash.copy().digest('hex');
  return hash.update(await rememberedVersions(packages, stateDir, recipe, signal)).digest('hex');
}

async function rememberedVersions(
  choice: PackageChoice,
  stateDir: string,
  recipe: string,
  signal?: AbortSignal,
): Promise<string> {
  const memo = join(stateDir, 'versions');
  const key = `${recipe} ${await listsStamp(stateDir)}`;
  const [known, versions] = (await readFile(memo, 'utf8').catch(() => '')).split('\n', 2);
  if (known === key && versions) return versions;
  const plan = await planPackages(choice, stateDir, signal);
  const answer = createHash('sha256')
    .update(plan.packages.map(({ line }) => line).join('\n'))
    .digest('hex');
  const draft = `${memo}.${shortId()}`;
  // Stamped again: a first use of Debian's own archive has just made its lists.
  await writeFile(draft, `${recipe} ${await listsStamp(stateDir)}\n${answer}\n`);
  await rename(draft, memo);
  return answer;
}

/** From the host's own sources where they have everything, else from Debian's archive. */
export async function planPackages(
  choice: PackageChoice,
  stateDir: string,
  signal?: AbortSignal,
): Promise<PackagePlan> {
  const folder = join(stateDir, 'apt');
  await mkdir(folder, { recursive: true });
  // Once refreshed, stay there: the host's lists were not good enough before.
  if ((await readdir(join(folder, 'lists')).catch(() => [])).length > 1) {
    return choosePackages(await debianApt(folder, { refresh: false, signal }), choice, signal);
  }
  const host = await hostApt(folder);
  try {
    return await choosePackages(host, choice, signal);
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof KithError)) throw error;
    return refreshPackages(choice, stateDir, signal);
  }
}

/** Reads Debian's package lists anew. */
export async function refreshPackages(
  choice: PackageChoice,
  stateDir: string,
  signal?: AbortSignal,
): Promise<PackagePlan> {
  return choosePackages(await debianApt(join(stateDir, 'apt'), { refresh: true, signal }), choice, signal);
}

async function choosePackages(apt: Apt, choice: PackageChoice, signal?: AbortSignal): Promise<PackagePlan> {
  const kernel = await dependencyOf(apt, choice.kernel.meta, choice.kernel.pattern, signal);
  const found = [
    ...(await resolvePackage(apt, kernel, signal)),
    ...(await resolvePackages(apt, choice.programs, signal)),
  ];
  const packages = found.filter(({ name }) => !choice.skip.test(name));
  for (const name of [kernel, ...choice.programs]) {
    if (packages.some((entry) => entry.name === name)) continue;
    throw new KithError({ code: 'image.packages', message: `apt offers no package ${name}` });
  }
  return { apt, packages, bytes: packages.reduce((sum, { bytes }) => sum + bytes, 0) };
}

async function hashFolder(hash: ReturnType<typeof createHash>, folder: string): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const file of files.sort()) {
    const data = await readFile(file);
    hash.update(`${file.slice(folder.length)} ${data.length}\n`).update(data);
  }
}

/** Names, sizes and times of the package lists: they change when, and only when, versions may have changed. */
async function listsStamp(stateDir: string): Promise<string> {
  const hash = createHash('sha256');
  for (const folder of [HOST_LISTS, join(stateDir, 'apt', 'lists')]) {
    const names = await readdir(folder).catch(() => []);
    for (const name of names.filter((file) => /_(Packages|InRelease|Release)(\.|$)/.test(file)).sort()) {
      const { size, mtimeMs } = await stat(join(folder, name));
      hash.update(`${name} ${size} ${mtimeMs}\n`);
    }
  }
  return hash.digest('hex');
}
