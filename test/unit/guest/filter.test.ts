/** The box's seccomp program, run by a small machine of its own: what it lets through and what it refuses. */
import { describe, expect, it } from 'vitest';
import { boxFilter, type FilterArch } from '../../../src/guest/filter.ts';

const MACHINE = { x86_64: 0xc000003e, aarch64: 0xc00000b7 } as const;
const I386 = 0x40000003;

/** linux/Documentation/networking/filter.rst, as far as seccomp needs it. */
function run(program: Buffer, call: { arch: number; number: number; argument?: number }): string {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(call.number, 0);
  data.writeUInt32LE(call.arch, 4);
  data.writeUInt32LE((call.argument ?? 0) >>> 0, 16);
  let accumulator = 0;
  for (let at = 0; at < program.length; at += 8) {
    const [code, yes, no, value] = [
      program.readUInt16LE(at),
      program[at + 2] ?? 0,
      program[at + 3] ?? 0,
      program.readUInt32LE(at + 4),
    ];
    const jump = (condition: boolean): void => {
      at += 8 * (condition ? yes : no);
    };
    if (code === 0x20) accumulator = data.readUInt32LE(value);
    else if (code === 0x15) jump(accumulator === value);
    else if (code === 0x35) jump(accumulator >= value);
    else if (code === 0x45) jump((accumulator & value) !== 0);
    else if (code === 0x06) return { 0x7fff0000: 'allow', 0x80000000: 'kill' }[value] ?? `errno ${value - 0x50000}`;
    else throw new Error(`no such instruction: ${code}`);
  }
  throw new Error('the program has no end');
}

const THREAD = 0x3d0f00; // what the C library passes for a thread (CLONE_VM … CLONE_THREAD …)
const FORK = 0x01200011;
const calls = (arch: FilterArch) => {
  const numbers = {
    x86_64: { read: 0, clone: 56, fork: 57, socket: 41, ptrace: 101, mount: 165, unshare: 272, memfd: 319, execve: 59 },
    aarch64: {
      read: 63,
      clone: 220,
      fork: undefined,
      socket: 198,
      ptrace: 117,
      mount: 40,
      unshare: 97,
      memfd: 279,
      execve: 221,
    },
  }[arch];
  const program = boxFilter(arch);
  return (name: keyof typeof numbers, argument?: number) =>
    numbers[name] === undefined
      ? 'no such call'
      : run(program, { arch: MACHINE[arch], number: numbers[name], ...(argument === undefined ? {} : { argument }) });
};

describe.each(['x86_64', 'aarch64'] as const)('the filter on %s', (arch) => {
  const call = calls(arch);

  it('lets a program work, start threads and use Unix sockets', () => {
    expect([call('read'), call('execve'), call('clone', THREAD), call('socket', 1)]).toEqual(Array(4).fill('allow'));
  });

  it('refuses processes, other sockets, and everything that reaches out of the box', () => {
    expect(call('clone', FORK)).toBe('errno 1');
    expect(call('fork')).toMatch(/errno 1|no such call/);
    for (const family of [2, 10, 16, 17, 40]) expect(call('socket', family)).toBe('errno 97');
    for (const name of ['ptrace', 'mount', 'unshare', 'memfd'] as const) expect(call(name)).toBe('errno 1');
    expect(run(boxFilter(arch), { arch: MACHINE[arch], number: 435, argument: THREAD })).toBe('errno 38');
  });

  it('cannot be passed by the calls of another machine or another ABI', () => {
    expect(run(boxFilter(arch), { arch: I386, number: 2 })).toBe('kill');
    expect(run(boxFilter(arch), { arch: MACHINE[arch], number: 0x40000000 + 57 })).toBe('errno 1');
  });
});
