/** Child processes that never outlive us: the only importer of execa. */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { execa, type ResultPromise } from 'execa';

/** Finds a program on the PATH and in the sbin folders that ordinary users lack; undefined if it is nowhere. */
export function findProgram(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  const folders = [...(env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  return folders
    .filter(Boolean)
    .map((folder) => join(folder, name))
    .find(isProgram);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The command line that dies with us, if setpriv is there. */
function tied(file: string, args: readonly string[]): [file: string, args: string[]] {
  const setpriv = findProgram('setpriv');
  // A missing program stays the error that it is, not one of setpriv.
  const there = file.includes('/') ? isProgram(file) : findProgram(file) !== undefined;
  return setpriv && there ? [setpriv, ['--pdeathsig', 'KILL', '--', file, ...args]] : [file, [...args]];
}

export interface ChildOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Extends our environment unless false. */
  readonly extendEnv?: boolean;
  readonly stdin?: 'ignore' | 'pipe' | 'inherit';
  readonly stdout?: 'ignore' | 'pipe' | 'inherit';
  readonly stderr?: 'ignore' | 'pipe' | 'inherit';
  /** Its own session: a Ctrl-C in our terminal does not reach it. */
  readonly detached?: boolean;
  /** SIGTERM first, SIGKILL this many ms later. Default 5000. */
  readonly killAfterMs?: number;
  readonly signal?: AbortSignal;
}

export type Child = ResultPromise<{ reject: false; buffer: false }>;

/**
 * Starts a program that the kernel kills when this process dies, however it dies (PR_SET_PDEATHSIG by setpriv(1); without
 * setpriv only the guard of base/guard.ts protects). The promise resolves when it has ended, also on failure.
 */
export function startChild(file: string, args: readonly string[], options: ChildOptions = {}): Child {
  const [program, argv] = tied(file, args);
  return execa(program, argv, {
    reject: false,
    buffer: false,
    stdin: options.stdin ?? 'ignore',
    stdout: options.stdout ?? 'pipe',
    stderr: options.stderr ?? 'pipe',
    detached: options.detached ?? true,
    forceKillAfterDelay: options.killAfterMs ?? 5000,
    extendEnv: options.extendEnv ?? true,
    ...(options.cwd ? { cwd: options.cwd } : {}),
    ...(options.env ? { env: { ...options.env } } : {}),
    ...(options.signal ? { cancelSignal: options.signal } : {}),
  }) as Child;
}

export interface CommandResult {
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a short command to its end, output captured (at most 10 MB), never rejecting on a bad exit code. */
export async function runCommand(
  file: string,
  args: readonly string[],
  options: {
    readonly timeoutMs: number;
    readonly cwd?: string;
    readonly env?: Readonly<Record<string, string>>;
    readonly signal?: AbortSignal;
  },
): Promise<CommandResult> {
  const [program, argv] = tied(file, args);
  const result = await execa(program, argv, {
    reject: false,
    timeout: options.timeoutMs,
    maxBuffer: 10_000_000,
    stdin: 'ignore',
    ...(options.cwd ? { cwd: options.cwd } : {}),
    ...(options.env ? { env: { ...options.env } } : {}),
    ...(options.signal ? { cancelSignal: options.signal } : {}),
  });
  return {
    exitCode: result.exitCode,
    stdout: result.stdout,
    stderr: result.stderr || (result.failed ? (result.shortMessage ?? '') : ''),
  };
}
