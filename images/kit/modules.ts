/** Kernel modules in the order in which insmod must load them, taken from their own `depends=` (Debian ships no modules.dep in the package). */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KithError } from '../../src/base/errors.ts';

export interface KernelModule {
  readonly name: string;
  readonly data: Buffer;
}

const plain = (name: string): string => name.replaceAll('-', '_');

/** The named modules of the tree below `folder` and what they depend on, dependencies first. */
export async function collectModules(folder: string, names: readonly string[]): Promise<KernelModule[]> {
  const files = new Map<string, string>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const [, name] = /^(.*)\.ko$/.exec(entry.name) ?? [];
    if (name && entry.isFile()) files.set(plain(name), join(entry.parentPath, entry.name));
  }
  const done = new Map<string, KernelModule>();
  const visit = async (wanted: string): Promise<void> => {
    const name = plain(wanted);
    if (done.has(name)) return;
    const file = files.get(name);
    if (!file) throw new KithError({ code: 'image.packages', message: `the kernel package has no module ${name}` });
    const data = await readFile(file);
    for (const dependency of dependsOf(data)) await visit(dependency);
    done.set(name, { name, data });
  };
  for (const name of names) await visit(name);
  return [...done.values()];
}

function dependsOf(module: Buffer): string[] {
  const key = Buffer.from('\0depends=');
  const at = module.indexOf(key);
  if (at < 0) return [];
  const start = at + key.length;
  return module.toString('latin1', start, module.indexOf(0, start)).split(',').filter(Boolean);
}
