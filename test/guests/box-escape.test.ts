/**
 * What a hostile program can do in QEMU's place, and a hostile guest inside: each attempt in the box, and the same attempt with
 * the box switched off, where that does no harm. The table at the end is the result.
 */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findProgram, startChild, type Child } from '../../src/base/process.ts';
import { residentLimitMiB } from '../../src/guest/box.ts';
import { probeConfinement } from '../../src/guest/confinement.ts';
import type { BootOptions, RunningGuest } from '../../src/guest/guest.ts';
import type { HostFacts } from '../../src/guest/probe.ts';
import { microImage, openTestLan, sh, type TestLan } from '../harness/guest.ts';
import { canStandIn, tryInPlaceOfQemu, writeStandIn } from '../harness/stand-in.ts';

interface Row {
  readonly attempt: string;
  readonly guard: string;
  readonly boxed: string;
  readonly free: string;
}
const table: Row[] = [];

interface Attempt {
  readonly attempt: string;
  /** What refuses it. */
  readonly guard: string;
  readonly perl: string;
  /** Why it is not tried without the box, or what refuses it there as well. */
  readonly notFree?: string;
}

const NAMESPACE = 'mount namespace';
const READ_ONLY = 'nothing writable in the box';
const FILTER = 'our system call filter';
const LIMIT = 'resource limit';

/** What a grown file or a grown process needs not exceed: enough to prove the point, harmless where nothing refuses it. */
const FILL_MIB = 64;
const EAT_MIB = 900;
const FORKS = 40;

const ATTEMPTS: readonly Attempt[] = [
  { attempt: 'read a file of the user', guard: NAMESPACE, perl: 'slurp($facts{secret})' },
  {
    attempt: "list the user's folders",
    guard: NAMESPACE,
    perl: 'opendir(my $d, $facts{home}) or die "$!\\n"; scalar(() = readdir $d) . " names"',
  },
  { attempt: 'read /etc/passwd', guard: NAMESPACE, perl: 'length(slurp("/etc/passwd")) . " bytes"' },
  {
    attempt: "read the peer's environment",
    guard: 'no /proc, process namespace',
    perl: 'length(slurp("/proc/$facts{peer}/environ")) . " bytes"',
  },
  {
    attempt: 'open the settings of the kernel for writing',
    guard: 'no /proc',
    perl: 'sysopen(my $f, "/proc/sys/kernel/core_pattern", O_WRONLY) or die "$!\\n"; "opened"',
    ...(process.getuid?.() === 0 ? {} : { notFree: 'only root may' }),
  },
  {
    attempt: "read another guest's configuration in the same run directory",
    guard: NAMESPACE,
    perl: 'slurp("$own/../other/c")',
  },
  {
    attempt: "connect to another guest's socket",
    guard: NAMESPACE,
    perl: 'socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die "$!\\n"; connect($s, pack_sockaddr_un("$own/../other/q")) or die "$!\\n"; "connected"',
  },
  {
    attempt: "connect to a socket of the user's session",
    guard: NAMESPACE,
    perl: 'socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die "$!\\n"; connect($s, pack_sockaddr_un($facts{bus})) or die "$!\\n"; "connected"',
  },
  {
    attempt: 'connect to an abstract Unix socket',
    guard: 'network namespace',
    perl: 'socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die "$!\\n"; connect($s, pack_sockaddr_un("\\0$facts{abstract}")) or die "$!\\n"; "connected"',
  },
  { attempt: 'connect to a server on the loopback', guard: `network namespace, ${FILTER}`, perl: 'dial("127.0.0.1")' },
  {
    attempt: "connect to a server at the host's own address",
    guard: `network namespace, ${FILTER}`,
    perl: 'dial($facts{address})',
  },
  {
    attempt: 'open a raw network socket',
    guard: FILTER,
    perl: 'socket(my $s, 17, SOCK_RAW, 0) or die "$!\\n"; "opened"',
    ...(process.getuid?.() === 0 ? {} : { notFree: 'only root may' }),
  },
  {
    attempt: "write beside the user's files",
    guard: READ_ONLY,
    perl: 'open(my $f, ">", "$facts{folder}/written") or die "$!\\n"; "written"',
  },
  {
    attempt: 'change the image that others boot',
    guard: 'bound read-only',
    perl: 'open(my $f, "+<", $facts{image}) or die "$!\\n"; "opened for writing"',
    notFree: 'the cached image is read-only by its mode',
  },
  {
    attempt: 'put a link to another socket in the place of its own',
    guard: READ_ONLY,
    perl: 'unlink("$own/n") or die "$!\\n"; symlink($facts{bus}, "$own/n") or die "$!\\n"; "replaced"',
  },
  {
    attempt: `fill ${FILL_MIB} MiB of disk or memory with files`,
    guard: `${READ_ONLY}, ${LIMIT}`,
    perl: `my $done = 0;
      for my $place ($own, "$facts{folder}/fill", "/tmp", "/dev/shm", "/dev", "/", "/run", "/var/tmp") {
        last if $done;
        my $path = "$place/kith-fill-$$";
        open(my $f, ">", $path) or next;
        for (1..${FILL_MIB}) { last unless syswrite($f, "x" x 1048576) == 1048576; $done++ }
        close $f; unlink $path;
      }
      $done ? "$done MiB" : die "$!\\n"`,
  },
  {
    attempt: 'grow its working disk beyond the quota',
    guard: LIMIT,
    perl: `sysopen(my $f, $disk, O_WRONLY) or die "$!\\n"; my $done = 0;
      for (1..${FILL_MIB}) { last unless (syswrite($f, "x" x 1048576) // 0) == 1048576; $done++ }
      $done == ${FILL_MIB} ? "$done MiB" : die "$! after $done MiB\\n"`,
  },
  {
    attempt: `take ${EAT_MIB} MiB of memory`,
    guard: LIMIT,
    // Held until somebody minds.
    perl: `my $bytes = $facts{eat} << 20; my $memory = "x" x $bytes; sleep 600; length($memory) >> 20`,
  },
  {
    attempt: 'take memory that counts for no process (memfd)',
    guard: FILTER,
    perl: 'my $name = "x"; ok(syscall($facts{memfd}, $name, 0) >= 0) && "made"',
  },
  {
    attempt: 'take memory that counts for no process (System V)',
    guard: FILTER,
    perl: 'my $id = syscall($facts{shmget}, 0, 4096, 0600 | 01000); ok($id >= 0); shmctl($id, 0, 0); "made"',
  },
  {
    attempt: `fork ${FORKS} times`,
    guard: FILTER,
    perl: `my @children; for (1..${FORKS}) { my $pid = fork; last unless defined $pid; if (!$pid) { sleep 60; POSIX::_exit(0) } push @children, $pid }
      my $why = $!; kill 'KILL', @children; @children ? @children . " children" : die "$why\\n"`,
  },
  {
    attempt: 'see another process of the user',
    guard: 'process namespace',
    perl: 'kill(0, $facts{victim}) ? "seen" : die "$!\\n"',
  },
  {
    attempt: 'kill another process of the user',
    guard: 'process namespace',
    perl: 'kill("KILL", $facts{victim}) ? "killed" : die "$!\\n"',
  },
  {
    attempt: 'kill everything that it can',
    guard: 'process namespace',
    perl: 'kill("KILL", -1) ? "killed" : die "$!\\n"',
    notFree: 'it would work',
  },
  {
    attempt: 'trace another process (ptrace)',
    guard: `process namespace, ${FILTER}`,
    perl: 'ok(syscall($facts{ptrace}, 0x4206, $facts{tracee} + 0, 0, 0) >= 0) && "attached"',
    ...(process.getuid?.() === 0 ? {} : { notFree: 'up to the settings of the system' }),
  },
  {
    attempt: 'get privileges in a user namespace of its own',
    guard: FILTER,
    perl: 'ok(syscall($facts{unshare}, 0x10000000) == 0) && "got them"',
  },
  {
    attempt: 'get privileges from a setuid program',
    guard: 'no new privileges, no setuid in mounts',
    perl: 'syscall($facts{prctl}, 39, 0, 0, 0, 0) == 0 ? "would get them" : die "no new privileges\\n"',
  },
  {
    attempt: "use the user's keyring",
    guard: FILTER,
    perl: 'ok(syscall($facts{keyctl}, 0, -3, 1) >= 0) && "opened"',
    notFree: 'up to the settings of the system',
  },
  {
    attempt: 'use io_uring, past filters of system calls',
    guard: FILTER,
    perl: 'my $p = "\\0" x 120; ok(syscall($facts{io_uring}, 4, $p) >= 0) && "made a ring"',
    notFree: 'up to the settings of the system',
  },
  {
    attempt: 'open a terminal',
    guard: 'session of its own',
    perl: 'sysopen(my $f, "/dev/tty", O_RDWR) or die "$!\\n"; "opened"',
    notFree: 'every child has a session of its own',
  },
];

let host: HostFacts;
let lan: TestLan;
let folder: string;
let server: Server;
let kernel: string;
let memoryMiB: number;
const sockets: Server[] = [];
const victims: Child[] = [];

/** The host's address on the owner's LAN; a second loopback address where it has none. */
const address =
  Object.values(networkInterfaces())
    .flat()
    .find((found) => found?.family === 'IPv4' && !found.internal)?.address ?? '127.0.0.2';
const ABSTRACT = `kith-escape-${process.pid}`;

async function listen(path: string): Promise<void> {
  const listener = createServer((socket) => socket.destroy());
  sockets.push(listener);
  listener.listen(path);
  await once(listener, 'listening');
}

async function newVictim(): Promise<number> {
  const victim = startChild('sleep', ['600'], { stdout: 'ignore', stderr: 'ignore' });
  victims.push(victim);
  return victim.pid ?? 0;
}

// Set-up brings bubblewrap; some systems forbid its namespaces all the same, and there is no box to get out of then.
const namespaces = (await probeConfinement({ qemu: findProgram('qemu-system-x86_64') ?? '' })).find(
  ({ name }) => name === 'namespaces',
);
if (!namespaces?.ok) process.stdout.write(`skipped: escapes from the box, ${namespaces?.reason ?? 'there is none'}\n`);
const canTry = canStandIn && namespaces?.ok === true;

beforeAll(async () => {
  const micro = await microImage();
  host = micro.host;
  kernel = micro.image.kernel;
  memoryMiB = micro.image.manifest.memoryMiB.default;
  folder = await mkdtemp(join(tmpdir(), 'kith-escape-'));
  await chmod(folder, 0o700);
  for (const name of ['fill', 'home']) await mkdir(join(folder, name));
  await writeFile(join(folder, 'secret'), 'the secret');
  await writeFile(join(folder, 'base.raw'), '');
  await truncate(join(folder, 'base.raw'), 2 ** 30);
  lan = await openTestLan(1);
  await mkdir(join(lan.run.path, 'other'));
  await writeFile(join(lan.run.path, 'other', 'c'), 'private-key of another guest', { mode: 0o600 });
  await listen(join(lan.run.path, 'other', 'q'));
  await listen(join(folder, 'bus'));
  await listen(`\0${ABSTRACT}`);
  server = createServer((socket) => socket.end('welcome'));
  server.listen(0, '0.0.0.0');
  await once(server, 'listening');
});

afterAll(async () => {
  for (const victim of victims) {
    victim.kill('SIGKILL');
    await victim;
  }
  for (const listener of [...sockets, server]) listener?.close();
  await lan?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
  process.stdout.write(`\n${format(table)}\n`);
});

function format(rows: readonly Row[]): string {
  const head: Row = { attempt: 'attempt', guard: 'guard', boxed: 'in the box', free: 'without the box' };
  const columns = ['attempt', 'guard', 'boxed', 'free'] as const;
  const widths = columns.map((column) => Math.max(...[head, ...rows].map((row) => row[column].length)));
  return [head, ...rows]
    .map((row) =>
      columns
        .map((column, index) => row[column].padEnd(widths[index] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

describe.skipIf(!canTry)("a hostile program in QEMU's place", () => {
  it.each(ATTEMPTS)('cannot $attempt', async ({ attempt, guard, perl, notFree }) => {
    const run = async (confinement: HostFacts['confinement']): Promise<string> => {
      const facts = {
        folder,
        eat: EAT_MIB,
        home: join(folder, 'home'),
        secret: join(folder, 'secret'),
        bus: join(folder, 'bus'),
        abstract: ABSTRACT,
        image: kernel,
        peer: process.pid,
        port: (server.address() as { port: number }).port,
        address,
        victim: await newVictim(),
        tracee: await newVictim(),
      };
      const { image } = await microImage();
      const options: Partial<BootOptions> = {
        run: lan.run,
        image: { ...image, disk: { path: join(folder, 'base.raw'), format: 'raw' } },
        diskDirectory: folder,
        diskMiB: 8,
      };
      return tryInPlaceOfQemu({ folder, attempt: perl, facts }, { ...host, confinement }, options);
    };
    const boxed = await run(host.confinement);
    const free = notFree ? `not tried: ${notFree}` : await run([]);
    table.push({ attempt, guard, boxed: boxed.toLowerCase(), free: free.toLowerCase() });
    expect([boxed, free]).toEqual([expect.stringMatching(/^REFUSED/), expect.stringMatching(/^SUCCEEDED|^not tried/)]);
  });
});

/** Processes whose whole command line is this. */
const called = async (name: string): Promise<number[]> => {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0);
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')));
  return pids.filter((_, index) => lines[index]?.replaceAll('\0', ' ').trim() === name);
};

/** A condition that others bring about; its bound is the test's own. */
async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await condition())) await sleep(20);
}

/**
 * Takes back the death that its parent's death should be, ignores what can be ignored, and leaves a child in a session of its
 * own, if it may.
 */
const LINGER = `syscall($facts{prctl}, 1, 0, 0, 0, 0); $SIG{$_} = 'IGNORE' for qw(HUP INT TERM PIPE);
  my $pid = fork; POSIX::setsid() if defined $pid && !$pid; $0 = $facts{name}; sleep 600; "lingered"`;

describe.skipIf(!canTry)("a hostile program in QEMU's place, when its peer is killed", () => {
  const remaining = async (confinement: HostFacts['confinement']): Promise<number> => {
    const name = `kith-lingers-${process.pid}-${confinement.length}`;
    const script = await writeStandIn({ folder, attempt: LINGER, facts: { name } });
    const holder = new URL('../harness/stand-in-holder.ts', import.meta.url).pathname;
    const peer = startChild(process.execPath, [holder, script, confinement.join(',')], {
      stdout: 'pipe',
      stderr: 'inherit',
    });
    const [line] = (await once(peer.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
    const processes = confinement.includes('namespaces') ? 1 : 2;
    await until(async () => (await called(name)).length === processes);
    peer.kill('SIGKILL');
    await peer;
    // The guard removes the run directory last.
    await until(() => !existsSync(line.toString().trim()));
    const left = await called(name);
    for (const pid of left) process.kill(pid, 'SIGKILL');
    return left.length;
  };

  it('does not linger', async () => {
    const [boxed, free] = [await remaining(host.confinement), await remaining([])];
    table.push({
      attempt: 'keep running after the end of its peer',
      guard: `guard of the run directory, ${FILTER}`,
      boxed: boxed === 0 ? 'refused: nothing is left' : `succeeded ${boxed} left`,
      free: free === 0 ? 'refused: nothing is left' : `succeeded ${free} left`,
    });
    expect([boxed, free]).toEqual([0, 1]);
  });
});

describe('a hostile guest', () => {
  const QUOTA_MIB = 16;
  let disk: string;
  const boot = async (here: TestLan, confinement: HostFacts['confinement']): Promise<RunningGuest> => {
    const { image } = await microImage();
    return here.boot(0, {
      host: { ...host, confinement },
      image: { ...image, disk: { path: disk, format: 'raw' } },
      diskDirectory: folder,
      diskMiB: QUOTA_MIB,
      cpus: 2,
    });
  };
  /** What its working disk takes of the host's, MiB. It has no name any more, so it is looked at through QEMU's hands. */
  const taken = async (guest: RunningGuest): Promise<number> => {
    const fds = `/proc/${guest.pid}/fd`;
    const sizes = await Promise.all(
      (await readdir(fds)).map(async (fd) => {
        const path = join(fds, fd);
        return (await readlink(path).catch(() => '')).endsWith('.d (deleted)') ? (await stat(path)).size : 0;
      }),
    );
    return Math.max(...sizes) / 2 ** 20;
  };
  const tell = (attempt: string, guard: string, boxed: string, free: string): void => {
    table.push({ attempt: `guest: ${attempt}`, guard, boxed, free });
  };

  beforeAll(async () => {
    disk = join(folder, 'guest.raw');
    await writeFile(disk, '');
    await truncate(disk, 128 * 2 ** 20);
  });

  it('cannot fill the disk of its host: it sees failed writes, and lives', async () => {
    const fill = async (confinement: HostFacts['confinement']) => {
      await using here = await openTestLan(1);
      const guest = await boot(here, confinement);
      const { exitCode, stderr } = await guest.exec(
        ['sh', '-c', `dd if=/dev/urandom of=/dev/vda bs=1M count=${FILL_MIB} conv=fsync`],
        { timeoutMs: 200_000 },
      );
      const mib = await taken(guest);
      return { exitCode, word: stderr.toString(), mib, alive: await sh(guest, 'echo alive') };
    };
    const boxed = await fill(host.confinement);
    const free = await fill([]);
    const words = ({ exitCode, mib }: typeof boxed) =>
      `${exitCode === 0 ? 'succeeded' : 'refused input/output error'}, ${mib.toFixed(0)} MiB taken`;
    tell(`write ${FILL_MIB} MiB to its disk`, LIMIT, words(boxed), words(free));
    expect(boxed).toMatchObject({ exitCode: 1, word: expect.stringMatching(/Input\/output error/), alive: 'alive\n' });
    expect(boxed.mib).toBeLessThanOrEqual(QUOTA_MIB);
    expect(free.exitCode).toBe(0);
    expect(free.mib).toBeGreaterThan(FILL_MIB - 1);
  });

  it('cannot take more memory than it was given, nor reach its host', async () => {
    await using here = await openTestLan(1);
    const guest = await boot(here, host.confinement);
    const ate = await guest.exec(['sh', '-c', 'head -c 1000000000 /dev/zero | tail -c 1000000000 | wc -c'], {
      timeoutMs: 200_000,
    });
    const resident = (await guest.residentMiB()) ?? Number.NaN;
    tell(
      'take 1 GB of memory',
      'size of the guest',
      `refused, QEMU has ${resident.toFixed(0)} MiB`,
      'no part of the box',
    );
    expect(ate.stdout.toString().trim()).not.toBe('1000000000');
    expect(resident).toBeLessThanOrEqual(residentLimitMiB({ memoryMiB, loadedMiB: 0 }));
    const { port } = server.address() as { port: number };
    for (const target of [address, '127.0.0.1']) {
      const line = `ip route add default dev eth0 2>/dev/null; wget -q -T 3 -O - http://${target}:${port}/`;
      const reached = await guest.exec(['sh', '-c', line], { timeoutMs: 100_000 });
      const what = target === address ? "connect to the host's own address" : 'connect to the loopback of the host';
      tell(what, 'its LAN ends at our switch', reached.exitCode === 0 ? 'succeeded' : 'refused', 'no part of the box');
      expect(reached.stdout.toString()).not.toContain('welcome');
      expect(reached.exitCode).not.toBe(0);
    }
  });
});
