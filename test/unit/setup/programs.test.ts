/** What a machine lacks, and what its owner is told to type. */
import { describe, expect, test } from 'vitest';
import {
  findManager,
  installCommands,
  MANAGERS,
  missingPrograms,
  packagesFor,
  PROGRAMS,
} from '../../../src/setup/programs.mjs';

const without =
  (...names: string[]) =>
  (name: string) =>
    !names.includes(name);

describe('missing programs', () => {
  test('a machine that has everything lacks nothing', () => {
    expect(missingPrograms({ has: () => true, manager: 'apt', purpose: 'tests' })).toEqual([]);
  });

  test('names exactly what is not there', () => {
    const missing = missingPrograms({ has: without('prosody', 'qemu-img'), manager: 'apt' });
    expect(missing.map(({ name }) => name)).toEqual(['qemu-img', 'prosody']);
  });

  test('what only the tests use is asked for only by the tests', () => {
    const has = without('busybox');
    expect(missingPrograms({ has, manager: 'apt' })).toEqual([]);
    expect(missingPrograms({ has, manager: 'apt', purpose: 'tests' })).toHaveLength(1);
  });

  test('the programs that the bench compares us with are asked for by the bench alone', () => {
    const has = without('tincd', 'busybox');
    expect(missingPrograms({ has, manager: 'apt', purpose: 'tests' }).map(({ name }) => name)).toEqual(['busybox']);
    expect(missingPrograms({ has, manager: 'apt', purpose: 'bench' }).map(({ name }) => name)).toEqual(['tincd']);
    // Only Debian has them under these names: elsewhere the bench says itself what it lacks.
    expect(missingPrograms({ has, manager: 'pacman', purpose: 'bench' })).toEqual([]);
  });

  test('nobody is asked for what their system does not package', () => {
    expect(missingPrograms({ has: without('setpriv', 'chrt', 'apt-get'), manager: 'brew' })).toEqual([]);
    expect(missingPrograms({ has: without('apt-get'), manager: 'pacman' })).toEqual([]);
  });

  test('without any package manager that we know the names of Debian count', () => {
    expect(missingPrograms({ has: () => false, manager: undefined, purpose: 'tests' })).toHaveLength(
      PROGRAMS.filter(({ only }) => only !== 'bench').length,
    );
  });
});

describe('package managers', () => {
  test.each([
    ['linux', ['apt-get'], 'apt'],
    ['linux', ['apt-get', 'dnf'], 'dnf'],
    ['linux', ['pacman', 'brew'], 'pacman'],
    ['linux', ['apt-get', 'brew'], 'apt'],
    ['linux', [], undefined],
    ['darwin', [], 'brew'],
  ] as const)('on %s with %j it is %s', (platform, programs: readonly string[], manager) => {
    expect(findManager((name) => programs.includes(name), platform)).toBe(manager);
  });
});

describe('the commands to install', () => {
  const missing = PROGRAMS.filter(({ name }) => ['qemu-system-x86_64', 'qemu-img', 'setpriv', 'chrt'].includes(name));

  test('one line for each package manager, the own one first, each package once', () => {
    expect(installCommands(missing, 'dnf').split('\n')).toEqual([
      '  Fedora:         sudo dnf install qemu-system-x86 qemu-img util-linux',
      '  Debian, Ubuntu: sudo apt-get install --no-install-recommends qemu-system-x86 qemu-utils util-linux',
      '  Arch:           sudo pacman -S --needed qemu-system-x86 qemu-img util-linux',
      '  macOS:          brew install qemu',
    ]);
  });

  test('no line for a manager that has none of it', () => {
    const setpriv = PROGRAMS.filter(({ name }) => name === 'setpriv');
    expect(installCommands(setpriv, 'apt')).not.toContain('brew');
  });

  test('every program has a Debian package, and every package name is harmless in a shell', () => {
    for (const program of PROGRAMS) expect(program.packages.apt, program.name).toBeDefined();
    for (const { manager } of MANAGERS) {
      for (const name of packagesFor(PROGRAMS, manager)) expect(name).toMatch(/^[a-z0-9][a-z0-9/+.-]*$/);
    }
  });
});
