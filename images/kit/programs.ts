/** Puts programs from unpacked Debian packages into an archive, each with the shared libraries that it needs. */
import { readdir, readFile, realpath } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { KithError } from '../../src/base/errors.ts';
import { runCommand } from '../../src/base/process.ts';
import type { Archive } from './cpio.ts';
import { elfNeeds } from './elf.ts';

/** File name to path, of everything that could be a program or a library. */
export interface TreeIndex {
  readonly programs: ReadonlyMap<string, string>;
  readonly libraries: ReadonlyMap<string, string>;
}

const LIBRARIES = '/lib/x86_64-linux-gnu';

export async function indexTree(tree: string): Promise<TreeIndex> {
  const programs = new Map<string, string>();
  for (const folder of ['usr/sbin', 'usr/bin', 'sbin', 'bin']) {
    for (const name of await readdir(join(tree, folder)).catch(() => [])) programs.set(name, join(tree, folder, name));
  }
  const libraries = new Map<string, string>();
  for (const folder of ['usr/lib', 'lib64', 'lib']) {
    const entries = await readdir(join(tree, folder), { recursive: true, withFileTypes: true }).catch(() => []);
    // Symbolic links last: where both exist, the file itself is never a dangling or absolute link.
    const found = entries.filter((entry) => entry.name.includes('.so')).sort((a) => (a.isSymbolicLink() ? -1 : 1));
    for (const entry of found) {
      const path = join(entry.parentPath, entry.name);
      const real = await realpath(path).catch(() => undefined);
      if (real && !relative(tree, real).startsWith('..')) libraries.set(entry.name, real);
    }
  }
  return { programs, libraries };
}

export async function addProgram(archive: Archive, index: TreeIndex, name: string): Promise<void> {
  const path = index.programs.get(name);
  if (!path) throw missing(name, 'the packages');
  const folder = basename(join(path, '..')) === 'sbin' ? 'usr/sbin' : 'usr/bin';
  const data = await readFile(path);
  archive.file(`${folder}/${name}`, data, 0o755);
  await addNeeds(archive, index, data, name);
}

async function addNeeds(archive: Archive, index: TreeIndex, file: Buffer, user: string): Promise<void> {
  const { interpreter, libraries } = elfNeeds(file);
  const wanted = libraries.map((name) => ({ name, to: `${LIBRARIES}/${name}` }));
  if (interpreter) wanted.push({ name: basename(interpreter), to: interpreter });
  for (const { name, to } of wanted) {
    if (archive.has(to)) continue;
    const path = index.libraries.get(name);
    if (!path) throw missing(name, user);
    const data = await readFile(path);
    archive.file(to, data, 0o755);
    await addNeeds(archive, index, data, name);
  }
}

/** The static busybox and one link per applet; the list comes from the program itself. */
export async function addBusybox(archive: Archive, index: TreeIndex): Promise<void> {
  const path = index.programs.get('busybox');
  if (!path) throw missing('busybox', 'the packages');
  archive.file('bin/busybox', await readFile(path), 0o755);
  // A static program of the host's own architecture: it runs from where it was unpacked.
  const { stdout, exitCode } = await runCommand(path, ['--list'], { timeoutMs: 10_000 });
  if (exitCode !== 0) {
    throw new KithError({
      code: 'image.packages',
      message: 'cannot build the image: this host cannot run the busybox of an x86_64 guest',
      hint: 'build it on an x86_64 machine and let peers fetch it from there',
    });
  }

  for (const applet of stdout.split('\n').filter((name) => name && name !== 'busybox'))
    archive.link(`bin/${applet}`, 'busybox');
}

/** Files as they lie in a folder of the recipe; those that start with `#!` become executable, whatever git or npm made of them. */
export async function addFolder(archive: Archive, folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const data = await readFile(path);
    archive.file(relative(folder, path), data, data.subarray(0, 2).toString() === '#!' ? 0o755 : 0o644);
  }
}

const missing = (name: string, user: string): KithError =>
  new KithError({
    code: 'image.packages',
    message: `cannot build the image: ${user} needs ${name}, and no package of the recipe has it`,
    hint: 'add the package to the recipe',
  });
