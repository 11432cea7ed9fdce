/** What can hold a guest on this host, each found out by trying it, and what to do about the rest. */
import { open, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openRunDirectory } from '../base/guard.ts';
import { shortId } from '../base/ids.ts';
import { findProgram, runCommand, type CommandResult } from '../base/process.ts';
import { SANDBOX } from './arguments.ts';
import { scopeArguments, type Confinement } from './box.ts';
import { confine } from './confine.ts';

export interface ConfinementFinding {
  readonly name: Confinement;
  readonly ok: boolean;
  /** Why not. */
  readonly reason?: string;
  readonly hint?: string;
}

export interface ConfinementOptions {
  readonly qemu: string;
  readonly signal?: AbortSignal | undefined;
  readonly env?: NodeJS.ProcessEnv | undefined;
}

const COMMAND_MS = 20_000;
const UTIL_LINUX = 'install it with: apt install util-linux | dnf install util-linux | pacman -S util-linux';
const BUBBLEWRAP = 'install it with: apt install bubblewrap | dnf install bubblewrap | pacman -S bubblewrap';

/** Settings that forbid user namespaces to ordinary users, and the word that allows them. */
const NAMESPACE_SETTINGS = [
  { file: 'kernel/apparmor_restrict_unprivileged_userns', forbids: '1', allow: '0' },
  { file: 'kernel/unprivileged_userns_clone', forbids: '0', allow: '1' },
  { file: 'user/max_user_namespaces', forbids: '0', allow: '10000' },
] as const;

type Trial = (options: Required<Pick<ConfinementOptions, 'env'>> & ConfinementOptions) => Promise<ConfinementFinding>;

/** Strongest first. Takes a tenth of a second in all, so nothing is remembered that could become untrue. */
export async function probeConfinement(options: ConfinementOptions): Promise<readonly ConfinementFinding[]> {
  const given = { ...options, env: options.env ?? process.env };
  const findings = await Promise.all([namespaces, seccomp, cgroup, rlimits, idle].map((trial) => trial(given)));
  options.signal?.throwIfAborted();
  return findings;
}

const missing = (name: Confinement, reason: string, hint: string): ConfinementFinding => ({
  name,
  ok: false,
  reason,
  hint,
});

const run = (command: readonly [string, ...string[]], signal?: AbortSignal): Promise<CommandResult> =>
  runCommand(command[0], command.slice(1), { timeoutMs: COMMAND_MS, ...(signal ? { signal } : {}) });

const lastLine = ({ stderr, exitCode }: CommandResult): string =>
  stderr.trim().split('\n').at(-1)?.slice(-200) || `exit code ${exitCode ?? 'unknown'}`;

/** The very box that guests get, around a program that looks for what must not be there. */
const namespaces: Trial = async ({ env, signal }) => {
  const name = 'namespaces';
  if (!findProgram('bwrap', env)) return missing(name, 'bwrap not found', BUBBLEWRAP);
  await using folder = await openRunDirectory(tmpdir(), 'kith-box-');
  const secret = join(folder.path, 'secret');
  await (await open(secret, 'w', 0o600)).close();
  const confined = await confine(['/bin/sh', '-c', '[ ! -e "$1" ] && [ ! -e /proc/1 ] && echo held', 'kith', secret], {
    confinement: [name],
    contents: { read: [], write: [], devices: [] },
    limits: { addressMiB: 512, fileBytes: 0, threads: 64 },
    filterPath: join(folder.path, 'f'),
    env,
  });
  const result = await run([confined.program, ...confined.args], signal);
  if (result.stdout.trim() === 'held') return { name, ok: true };
  return missing(name, `bwrap cannot make a box: ${lastLine(result)}`, await namespaceHint());
};

async function namespaceHint(): Promise<string> {
  for (const { file, forbids, allow } of NAMESPACE_SETTINGS) {
    const value = await readFile(`/proc/sys/${file}`, 'utf8').catch(() => '');
    if (value.trim() !== forbids) continue;
    return `allow user namespaces with: sudo sysctl -w ${file.replaceAll('/', '.')}=${allow}`;
  }
  return 'the kernel, or the container that this is, forbids user namespaces: ask whoever runs it';
}

/** Fails in any case, at a device that does not exist; but before that, if there is no filter. */
const seccomp: Trial = async ({ qemu, signal }) => {
  const name = 'seccomp';
  const nothing = ['-M', 'none', '-nodefaults', '-display', 'none'];
  const result = await run([qemu, ...nothing, '-sandbox', SANDBOX, '-device', 'kith-probe'], signal);
  if (/not a valid device model/.test(result.stderr)) return { name, ok: true };
  return missing(name, `this QEMU has no sandbox: ${lastLine(result)}`, 'install a QEMU that was built with seccomp');
};

/** Reads back what the kernel really enforces: systemd takes limits, too, that were never delegated to it. */
const READ_BACK = `while IFS=: read -r id kinds path; do [ "$id" = 0 ] && group=/sys/fs/cgroup$path; done </proc/self/cgroup
cat "$group/memory.max" "$group/cpu.max"`;

const cgroup: Trial = async ({ env, signal }) => {
  const name = 'cgroup';
  const hint = 'limit guests by a systemd session of their user (loginctl enable-linger) on a host with cgroup v2';
  const systemdRun = findProgram('systemd-run', env);
  if (!systemdRun) return missing(name, 'systemd-run not found', hint);
  const limits = { unit: `kith-probe-${shortId()}`, memoryMiB: 64, cpuPercent: 50, threads: 64 };
  const scope = scopeArguments(limits, process.getuid?.() === 0);
  const result = await run([systemdRun, ...scope, '/bin/sh', '-c', READ_BACK], signal);
  if (/^67108864\n50000 100000$/.test(result.stdout.trim())) return { name, ok: true };
  const why = result.exitCode === 0 ? 'systemd does not pass memory and cpu limits on' : lastLine(result);
  return missing(name, `no cgroup of its own for a guest: ${why}`, hint);
};

const rlimits: Trial = async ({ env, signal }) => {
  const name = 'rlimits';
  const prlimit = findProgram('prlimit', env);
  if (!prlimit) return missing(name, 'prlimit not found', UTIL_LINUX);
  const result = await run([prlimit, '--core=0', '--nofile=64', '/bin/sh', '-c', 'ulimit -n'], signal);
  return result.stdout.trim() === '64' ? { name, ok: true } : missing(name, lastLine(result), UTIL_LINUX);
};

const idle: Trial = async ({ env, signal }) => {
  const name = 'idle';
  const chrt = findProgram('chrt', env);
  if (!chrt) return missing(name, 'chrt not found', UTIL_LINUX);
  const result = await run([chrt, '--idle', '0', chrt, '-p', '0'], signal);
  return /SCHED_IDLE/.test(result.stdout) ? { name, ok: true } : missing(name, lastLine(result), UTIL_LINUX);
};
