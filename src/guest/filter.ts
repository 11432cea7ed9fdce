/**
 * The system calls that nobody in a box may make, as a seccomp program (seccomp(2), struct sock_filter) that bubblewrap loads
 * before QEMU starts: it holds for whatever runs in QEMU's place, too. QEMU's own filter comes on top, once QEMU runs.
 */

export type FilterArch = 'x86_64' | 'aarch64';

/** Opcodes of classic BPF (linux/bpf_common.h). */
const LOAD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_GREATER_OR_EQUAL = 0x35;
const JUMP_SET = 0x45;
const RETURN = 0x06;
/** Offsets in struct seccomp_data; both machines are little-endian, so the low half of an argument comes first. */
const NUMBER = 0;
const MACHINE = 4;
const FIRST_ARGUMENT = 16;
/** Actions (linux/seccomp.h). */
const ALLOW = 0x7fff_0000;
const KILL = 0x8000_0000;
const ERRNO = 0x0005_0000;
const EPERM = ERRNO | 1;
const ENOSYS = ERRNO | 38;
const EAFNOSUPPORT = ERRNO | 97;

/** AUDIT_ARCH_* (linux/audit.h). */
const MACHINES: Readonly<Record<FilterArch, number>> = { x86_64: 0xc000_003e, aarch64: 0xc000_00b7 };
/** Calls of the x32 ABI are the same calls under other numbers. */
const X32 = 0x4000_0000;
const CLONE_THREAD = 0x0001_0000;
const AF_UNIX = 1;

type Numbers = readonly [x86_64: number | undefined, aarch64: number | undefined];

/** Left to their first argument: threads but no processes, Unix sockets but no others. */
const CLONE: Numbers = [56, 220];
const SOCKET: Numbers = [41, 198];
const SOCKETPAIR: Numbers = [53, 199];
/** Its flags lie in memory, where no filter can look. The C library then takes clone(2). */
const CLONE3: Numbers = [435, 435];

/** By reason. Numbers from linux/arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h. */
const DENIED: Readonly<Record<string, readonly Numbers[]>> = {
  'new processes: fork, vfork': [
    [57, undefined],
    [58, undefined],
  ],
  'other processes: ptrace, process_vm_readv, process_vm_writev, kcmp, pidfd_open, pidfd_getfd, pidfd_send_signal': [
    [101, 117],
    [310, 270],
    [311, 271],
    [312, 272],
    [434, 434],
    [438, 438],
    [424, 424],
  ],
  // Pages of these belong to no process's resident memory, so no limit of ours would see them.
  'memory without an owner: memfd_create, memfd_secret, shmget, shmat, msgget, semget, mq_open': [
    [319, 279],
    [447, 447],
    [29, 194],
    [30, 196],
    [68, 186],
    [64, 190],
    [240, 180],
  ],
  'namespaces and mounts: unshare, setns, mount, umount2, pivot_root, chroot, and the new mount calls': [
    [272, 97],
    [308, 268],
    [165, 40],
    [166, 39],
    [155, 41],
    [161, 51],
    [428, 428],
    [429, 429],
    [430, 430],
    [431, 431],
    [432, 432],
    [433, 433],
    [442, 442],
    [303, 264],
    [304, 265],
  ],
  // Where most holes of the last years were.
  'rich parts of the kernel: bpf, perf_event_open, userfaultfd, io_uring (3), keys (3), personality, modify_ldt': [
    [321, 280],
    [298, 241],
    [323, 282],
    [425, 425],
    [426, 426],
    [427, 427],
    [248, 217],
    [249, 218],
    [250, 219],
    [135, 92],
    [154, undefined],
  ],
  'the machine: modules (3), kexec (2), reboot, swap (2), quotactl, acct, syslog, ioperm, iopl, clock (3), vhangup': [
    [175, 105],
    [313, 273],
    [176, 106],
    [246, 104],
    [320, 294],
    [169, 142],
    [167, 224],
    [168, 225],
    [179, 60],
    [163, 89],
    [103, 116],
    [173, undefined],
    [172, undefined],
    [164, 170],
    [227, 112],
    [159, 171],
    [153, 58],
  ],
};

type Instruction = readonly [code: number, jumpTrue: number, jumpFalse: number, value: number];

export function boxFilter(arch: FilterArch): Buffer {
  const numberOf = ([x86, arm]: Numbers): number | undefined => (arch === 'x86_64' ? x86 : arm);
  const when = (call: Numbers, then: readonly Instruction[]): Instruction[] => {
    const number = numberOf(call);
    return number === undefined ? [] : [[JUMP_EQUAL, 0, then.length, number], ...then];
  };
  const give = (action: number): Instruction => [RETURN, 0, 0, action];
  const onlyUnix: Instruction[] = [
    [LOAD, 0, 0, FIRST_ARGUMENT],
    [JUMP_EQUAL, 0, 1, AF_UNIX],
    give(ALLOW),
    give(EAFNOSUPPORT),
  ];
  return encode([
    [LOAD, 0, 0, MACHINE],
    // The 32-bit calls of the same processor have other numbers.
    [JUMP_EQUAL, 1, 0, MACHINES[arch]],
    give(KILL),
    [LOAD, 0, 0, NUMBER],
    [JUMP_GREATER_OR_EQUAL, 0, 1, X32],
    give(EPERM),
    ...when(CLONE, [[LOAD, 0, 0, FIRST_ARGUMENT], [JUMP_SET, 0, 1, CLONE_THREAD], give(ALLOW), give(EPERM)]),
    ...when(CLONE3, [give(ENOSYS)]),
    ...when(SOCKET, onlyUnix),
    ...when(SOCKETPAIR, onlyUnix),
    ...Object.values(DENIED)
      .flat()
      .flatMap((call) => when(call, [give(EPERM)])),
    give(ALLOW),
  ]);
}

function encode(program: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  for (const [index, [code, jumpTrue, jumpFalse, value]] of program.entries()) {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(jumpTrue, index * 8 + 2);
    bytes.writeUInt8(jumpFalse, index * 8 + 3);
    bytes.writeUInt32LE(value >>> 0, index * 8 + 4);
  }
  return bytes;
}
