/** The tools of the recipes: archives that a real cpio reads, ELF headers, apt's answers. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, readlink, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseUris } from '../../../images/kit/apt.ts';
import { Archive } from '../../../images/kit/cpio.ts';
import { elfNeeds } from '../../../images/kit/elf.ts';
import { findProgram } from '../../../src/base/process.ts';

describe('an archive', () => {
  it('is the same bytes in whatever order it was filled', () => {
    const one = new Archive();
    one.file('b/c', 'text', 0o755);
    one.link('a', 'b/c');
    const two = new Archive();
    two.link('/a', 'b/c');
    two.folder('b');
    two.file('./b/c', Buffer.from('text'), 0o755);
    expect(one.toBuffer().equals(two.toBuffer())).toBe(true);
    expect(one.has('/b/c')).toBe(true);
  });

  it('is read by busybox cpio, where there is one', async ({ skip }) => {
    if (!findProgram('busybox')) skip('busybox is not installed');
    const folder = await mkdtemp(join(tmpdir(), 'kith-cpio-'));
    try {
      const archive = new Archive();
      archive.file('sub/odd', 'odd', 0o640);
      archive.file('sub/even', 'even', 0o755);
      archive.link('link', 'sub/odd');
      archive.folder('private', 0o700);
      execFileSync('busybox', ['cpio', '-idm'], {
        input: archive.toBuffer(),
        cwd: folder,
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      expect((await readdir(folder)).sort()).toEqual(['link', 'private', 'sub']);
      expect(await readFile(join(folder, 'link'), 'utf8')).toBe('odd');
      expect(await readlink(join(folder, 'link'))).toBe('sub/odd');
      expect((await stat(join(folder, 'sub/even'))).mode & 0o777).toBe(0o755);
      expect((await stat(join(folder, 'private'))).mode & 0o777).toBe(0o700);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe('the needs of a program', () => {
  it('are none for what is no program', () => {
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.from('#!/bin/sh\n'),
      Buffer.alloc(200),
      Buffer.from('\x7fELF'.padEnd(100, '\x01'), 'latin1'),
    ]) {
      expect(elfNeeds(bytes)).toEqual({ interpreter: undefined, libraries: [] });
    }
  });

  it.skipIf(process.platform !== 'linux')('name the interpreter and the C library of a usual one', async () => {
    const { interpreter, libraries } = elfNeeds(await readFile('/bin/ls'));
    expect(interpreter).toMatch(/ld-/);
    expect(libraries).toContain('libc.so.6');
  });
});

describe("apt's list of files", () => {
  it('is read by name, version and size, sorted, without what is no package', () => {
    const text = `Reading package lists...
'http://d/z/zlib1g_1%3a1.2.13_amd64.deb' zlib1g_1%3a1.2.13_amd64.deb 86684 MD5Sum:ec42
'http://d/g/gcc-12-base_12.2.0-14%2bdeb12u1_amd64.deb' gcc-12-base_12.2.0-14+deb12u1_amd64.deb 37596 
'http://d/x' --option_1_amd64.deb 5
E: something else`;
    expect(parseUris(text).map(({ name, version, bytes }) => [name, version, bytes])).toEqual([
      ['gcc-12-base', '12.2.0-14+deb12u1', 37_596],
      ['zlib1g', '1:1.2.13', 86_684],
    ]);
  });
});
