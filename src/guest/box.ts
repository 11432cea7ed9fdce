/**
 * The command line of the box: a program runs as the user, but without the user's files, network, processes and privileges,
 * and within limits. Pure: what is not in these arguments, nobody in a box has.
 */

/** What can hold a guest, in the order of strength. `seccomp` is QEMU's own filter; ours comes with `namespaces`. */
export type Confinement = 'namespaces' | 'seccomp' | 'cgroup' | 'rlimits' | 'idle';

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
 * Addresses that QEMU takes beyond the guest's memory. Measured: 215 MiB with a kernel and an initramfs of 25 MiB, which are
 * counted again below. To that come the stacks of 64 workers for the disk (STACK_BYTES), and a disk's tables.
 */
const ADDRESS_OVERHEAD_MIB = 512;
/** QEMU's pool of workers for the disk, one thread per processor, and a few that are always there. */
const THREADS = 64 + 16;
/** Memory that QEMU has resident beyond the guest's. Measured: 105 MiB, of which 34 are its own code; a disk adds up to 32. */
const RESIDENT_OVERHEAD_MIB = 256;

export interface GuestSize {
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly diskBytes: number;
  /** Kernel and initramfs: QEMU keeps a copy, and holds a second one while it loads them. */
  readonly loadedMiB: number;
}

export const guestLimits = ({ memoryMiB, cpus, diskBytes, loadedMiB }: GuestSize): BoxLimits => ({
  addressMiB: memoryMiB + 2 * loadedMiB + ADDRESS_OVERHEAD_MIB,
  fileBytes: diskBytes,
  threads: THREADS + cpus,
});

/** What a guest may have resident before it is ended. */
export const residentLimitMiB = ({ memoryMiB, loadedMiB }: Pick<GuestSize, 'memoryMiB' | 'loadedMiB'>): number =>
  memoryMiB + 2 * loadedMiB + RESIDENT_OVERHEAD_MIB;

export function guestScope(unit: string, size: GuestSize, cpuPercent: number): ScopeLimits {
  const { cpus } = size;
  const threads = THREADS + cpus;
  return { unit, memoryMiB: residentLimitMiB(size), cpuPercent: cpus * cpuPercent, threads };
}

/** Of a guest with one processor 84 are open, most of them events of its devices (measured). */
const MAX_FILES = 512;
/** Of a thread; the usual 8 MiB times 64 worker threads would need a far wider limit on addresses. QEMU on macOS has 0.5. */
const STACK_BYTES = 2 << 20;
/** All of it. The C library sets aside 64 MiB of addresses for each arena; two cost a guest no speed (measured). */
export const BOX_ENVIRONMENT = { PATH: '/usr/bin:/bin', MALLOC_ARENA_MAX: '2' } as const;

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

/** Options without a value from outside, as one types them. */
const words = (text: string): string[] => text.split(' ');

function namespaceArguments({ tools, contents, filter, report }: Box): string[] {
  return [
    ...words('--unshare-user --unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup-try'),
    ...words('--hostname box --die-with-parent --new-session --as-pid-1 --cap-drop ALL'),
    '--clearenv',
    ...Object.entries(BOX_ENVIRONMENT).flatMap(([name, value]) => ['--setenv', name, value]),
    ...tools.system.flatMap(({ path, link }) => (link ? ['--symlink', link, path] : ['--ro-bind', path, path])),
    // No /proc: QEMU needs none, and root's own would let it write the host's kernel settings even without capabilities.
    ...words('--dev /dev'),
    ...contents.devices.flatMap((path) => ['--dev-bind', path, path]),
    ...contents.read.flatMap((path) => ['--ro-bind', path, path]),
    ...contents.write.flatMap((path) => ['--bind', path, path]),
    // Last: from here on nothing can be made in the box's own folders, which are memory that no limit counts.
    ...words('--remount-ro /dev --remount-ro /'),
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

export function scopeArguments({ unit, memoryMiB, cpuPercent, threads }: ScopeLimits, root: boolean): string[] {
  return [
    ...(root ? [] : ['--user']),
    ...words(`--scope --quiet --collect --unit ${unit} -p MemoryMax=${memoryMiB}M -p MemorySwapMax=0`),
    ...words(`-p CPUQuota=${cpuPercent}% -p TasksMax=${threads} --`),
  ];
}
