/** A newc cpio archive from memory, byte for byte the same each time (Linux Documentation/driver-api/early-userspace/buffer-format). */
import { posix } from 'node:path';

const DIRECTORY = 0o040000;
const FILE = 0o100000;
const LINK = 0o120000;

/** Files of an initramfs. Folders come by themselves; owner root, time 0, inode by position: nothing of the build host shows. */
export class Archive {
  readonly #entries = new Map<string, { mode: number; data: Buffer }>();

  has(path: string): boolean {
    return this.#entries.has(clean(path));
  }

  file(path: string, data: Buffer | string, mode = 0o644): void {
    this.#put(path, FILE | mode, Buffer.from(data));
  }

  link(path: string, target: string): void {
    this.#put(path, LINK | 0o777, Buffer.from(target));
  }

  folder(path: string, mode = 0o755): void {
    this.#put(path, DIRECTORY | mode, Buffer.alloc(0));
  }

  /** Sorted by name, so that the order of adding does not show; a folder sorts before what it holds. */
  toBuffer(): Buffer {
    const parts: Buffer[] = [];
    const names = [...this.#entries.keys()].sort();
    for (const [index, name] of names.entries()) {
      const entry = this.#entries.get(name);
      if (entry) parts.push(...record(name, index + 1, entry.mode, entry.data));
    }
    parts.push(...record('TRAILER!!!', 0, 0, Buffer.alloc(0)));
    return Buffer.concat(parts);
  }

  #put(path: string, mode: number, data: Buffer): void {
    const name = clean(path);
    const parent = posix.dirname(name);
    if (parent !== '.' && !this.#entries.has(parent)) this.folder(parent);
    this.#entries.set(name, { mode, data });
  }
}

const clean = (path: string): string => posix.normalize(path).replace(/^\/+|\/+$/g, '');

function record(name: string, inode: number, mode: number, data: Buffer): Buffer[] {
  const text = Buffer.from(`${name}\0`);
  // inode mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const fields = [inode, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, text.length, 0];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
  return [header, text, padding(header.length + text.length), data, padding(data.length)];
}

const padding = (bytes: number): Buffer => Buffer.alloc((4 - (bytes % 4)) % 4);
