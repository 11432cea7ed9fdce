/**
 * The command line of the box: a program runs as the user, but without the user's files, network, processes and privileges,
 * and within limits. Pure: what is not in these arguments, nobody in a box has.
 */

/** What can hold a guest, in the order of strength. */
export const CONFINEMENTS = ['namespaces', 'seccomp', 'cgroup', 'rlimits', 'idle'] as const;
export type Confinement = (typeof CONFINEMENTS)[number];

/** A folder or file of the system as it is outside: bound read-only, or the same link again. */
export interface SystemPath {
  readonly path: string;
  readonly link?: string;
}

/** Absolute paths of the programs that build the box; one that is missing leaves its part out. */
export interface BoxTools {
  readonly sh: string;
  readonly bwrap?: string | undefined;
  readonly prlimit?: string | undefined;
  readonly chrt?: string | undefined;
  readonly systemdRun?: string | undefined;
  /** A scope of root is one of the system; anybody else's is one of their session. */
  readonly root: boolean;
  readonly system: readonly SystemPath[];
}

export interface BoxContents {
  /** Files and folders, under the same names inside as outside. */
  readonly read: readonly string[];
  readonly write: readonly string[];
  readonly devices: readonly string[];
}

/** Kept by the kernel for each process (getrlimit(2)); for all of a box, because its filter allows only one. */
export interface BoxLimits {
  readonly addressMiB: number;
  /** The longest that any file may become; a longer write fails with EFBIG. */
  readonly fileBytes: number;
  readonly threads: number;
  readonly cpuSeconds?: number;
}

/** Kept by a cgroup of the box's own. */
export interface ScopeLimits {
  readonly unit: string;
  readonly memoryMiB: number;
  /** Of one processor: 200 is two. */
  readonly cpuPercent: number;
  readonly threads: number;
}

export interface Box {
  readonly tools: BoxTools;
  readonly contents: BoxContents;
  readonly limits: BoxLimits;
  readonly scope?: ScopeLimits | undefined;
  /** File with the seccomp program. */
  readonly filter?: string | undefined;
  readonly idle: boolean;
  /** Standard output carries bubblewrap's report of the process id, and nothing else. */
  readonly report: boolean;
}

/**
 * Addresses that QEMU takes beyond the guest's memory. Measured: 380 MiB while a kernel and an initramfs of 25 MiB load. To
 * that come the stacks of 64 workers for the disk and the arenas of MALLOC_ARENAS.
 */
const ADDRESS_OVERHEAD_MIB = 768;
/** QEMU's pool of workers for the disk, one thread per processor, and a few that are always there. */
const THREADS = 64 + 16;
/** Memory that QEMU has resident beyond the guest's. Measured: 105 MiB, of which 34 are its own code; a disk adds up to 32. */
const RESIDENT_OVERHEAD_MIB = 256;

export interface GuestSize {
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly diskBytes: number;
}

export const guestLimits = ({ memoryMiB, cpus, diskBytes }: GuestSize): BoxLimits => ({
  addressMiB: memoryMiB + ADDRESS_OVERHEAD_MIB,
  fileBytes: diskBytes,
  threads: THREADS + cpus,
});

/** What a guest may have resident before it is ended. */
export const residentLimitMiB = (memoryMiB: number): number => memoryMiB + RESIDENT_OVERHEAD_MIB;

export function guestScope(unit: string, { memoryMiB, cpus }: GuestSize, cpuPercent: number): ScopeLimits {
  const threads = THREADS + cpus;
  return { unit, memoryMiB: residentLimitMiB(memoryMiB), cpuPercent: cpus * cpuPercent, threads };
}

/** Of a guest with one processor 84 are open, most of them events of its devices (measured). */
const MAX_FILES = 512;
/** Of a thread; the usual 8 MiB times 64 worker threads would need a far wider limit on addresses. QEMU on macOS has 0.5. */
const STACK_BYTES = 2 << 20;
/** The C library sets aside 64 MiB of addresses for each arena. */
const MALLOC_ARENAS = 2;

/**
 * A file over its limit is a failed write, not the end of QEMU. No descriptor but the standard three goes in; 8 and 9 are
 * closed by bubblewrap.
 */
const ENTER = `trap '' XFSZ
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
filter=$1 report=$2
shift 2
[ -z "$report" ] || exec 8>&1 >/dev/null
[ -z "$filter" ] || exec 9<"$filter" || exit
exec "$@"`;
const REPORT_FD = '8';
const FILTER_FD = '9';

export function boxedCommand(command: readonly string[], box: Box): [program: string, args: string[]] {
  const { tools, scope, idle } = box;
  const report = box.report && tools.bwrap ? 'report' : '';
  const filter = (tools.bwrap && box.filter) || '';
  const [program = '', ...args] = [
    // Needs no privilege for this class, and the box inherits it.
    ...(idle && tools.chrt ? [tools.chrt, '--idle', '0'] : []),
    ...(scope && tools.systemdRun ? [tools.systemdRun, ...scopeArguments(scope, tools.root)] : []),
    tools.sh,
    '-c',
    ENTER,
    'kith-box',
    filter,
    report,
    ...(tools.bwrap ? [tools.bwrap, ...namespaceArguments(box), '--'] : []),
    ...(tools.prlimit ? [tools.prlimit, ...limitArguments(box)] : []),
    ...command,
  ];
  return [program, args];
}

function namespaceArguments({ tools, contents, filter, report }: Box): string[] {
  return [
    ...['--unshare-user', '--unshare-ipc', '--unshare-pid', '--unshare-net', '--unshare-uts', '--unshare-cgroup-try'],
    ...['--hostname', 'box', '--die-with-parent', '--new-session', '--as-pid-1', '--cap-drop', 'ALL'],
    ...['--clearenv', '--setenv', 'PATH', '/usr/bin', '--setenv', 'MALLOC_ARENA_MAX', String(MALLOC_ARENAS)],
    ...tools.system.flatMap(({ path, link }) => (link ? ['--symlink', link, path] : ['--ro-bind', path, path])),
    // No /proc: QEMU needs none, and root's own would let it write the host's kernel settings even without capabilities.
    ...['--dev', '/dev', ...contents.devices.flatMap((path) => ['--dev-bind', path, path]), '--remount-ro', '/dev'],
    ...contents.read.flatMap((path) => ['--ro-bind', path, path]),
    ...contents.write.flatMap((path) => ['--bind', path, path]),
    // Last: from here on nothing can be made in the box's own root, which is memory that no limit counts.
    ...['--remount-ro', '/'],
    ...(filter ? ['--seccomp', FILTER_FD] : []),
    ...(report ? ['--info-fd', REPORT_FD] : []),
  ];
}

function limitArguments({ tools, limits }: Box): string[] {
  return [
    '--core=0',
    `--nofile=${MAX_FILES}`,
    `--stack=${STACK_BYTES}`,
    `--fsize=${limits.fileBytes}`,
    `--as=${limits.addressMiB * 2 ** 20}`,
    ...(limits.cpuSeconds === undefined ? [] : [`--cpu=${limits.cpuSeconds}`]),
    // Outside a user namespace this counts all processes of the user, and would refuse a busy one their first thread.
    ...(tools.bwrap ? [`--nproc=${limits.threads}`] : []),
  ];
}

export function scopeArguments(scope: ScopeLimits, root: boolean): string[] {
  return [
    ...(root ? [] : ['--user']),
    ...['--scope', '--quiet', '--collect', '--unit', scope.unit],
    ...['-p', `MemoryMax=${scope.memoryMiB}M`, '-p', 'MemorySwapMax=0'],
    ...['-p', `CPUQuota=${scope.cpuPercent}%`, '-p', `TasksMax=${scope.threads}`, '--'],
  ];
}
