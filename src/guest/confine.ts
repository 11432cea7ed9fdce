/** Puts a program into the box, as far as this host can: finds the programs that build it and writes the filter they load. */
import { lstat, readlink, realpath, writeFile } from 'node:fs/promises';
import { arch } from 'node:os';
import { findProgram } from '../base/process.ts';
import {
  BOX_ENVIRONMENT,
  boxedCommand,
  type BoxContents,
  type BoxLimits,
  type BoxTools,
  type Confinement,
  type ScopeLimits,
  type SystemPath,
} from './box.ts';
import { boxFilter } from './filter.ts';

export interface ConfineOptions {
  readonly confinement: readonly Confinement[];
  readonly contents: BoxContents;
  readonly limits: BoxLimits;
  readonly scope?: ScopeLimits | undefined;
  /** Where the filter may be written; it must stay until the program runs. */
  readonly filterPath: string;
  readonly idle?: boolean | undefined;
  readonly report?: boolean | undefined;
  readonly env?: NodeJS.ProcessEnv | undefined;
}

export interface Confined {
  readonly program: string;
  readonly args: string[];
  /** All that is left of our environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Standard output begins with bubblewrap's report. */
  readonly reports: boolean;
}

/** Programs and their libraries. The last two are where NixOS and Guix keep theirs. */
const SYSTEM = [
  '/usr',
  '/bin',
  '/sbin',
  '/lib',
  '/lib32',
  '/lib64',
  '/libx32',
  '/etc/ld.so.cache',
  '/etc/alternatives',
  '/nix/store',
  '/gnu/store',
];
/** systemd-run finds the session's manager by these. */
const SESSION = ['XDG_RUNTIME_DIR', 'DBUS_SESSION_BUS_ADDRESS'];

export async function confine(command: readonly [string, ...string[]], options: ConfineOptions): Promise<Confined> {
  const env = options.env ?? process.env;
  const tools = await boxTools(options.confinement, env);
  const filter = tools.bwrap ? await writeFilter(options.filterPath) : undefined;
  const [first] = command;
  const stray: string[] = [];
  for (const path of [first, ...(tools.prlimit ? [tools.prlimit] : [])]) {
    // A link counts as what it leads to; a program that is not there is reported by whoever starts it.
    if (!inSystem(await realpath(path).catch(() => path)) || !inSystem(path)) stray.push(path);
  }
  const [program, args] = boxedCommand(command, {
    tools,
    contents: { ...options.contents, read: [...stray, ...options.contents.read] },
    limits: options.limits,
    scope: options.scope,
    filter,
    idle: options.idle ?? true,
    report: options.report ?? false,
  });
  const kept = tools.systemdRun ? SESSION : [];
  const session = kept.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]]));
  return {
    program,
    args,
    env: { ...BOX_ENVIRONMENT, ...(Object.fromEntries(session) as Record<string, string>) },
    reports: options.report === true && tools.bwrap !== undefined,
  };
}

async function boxTools(confinement: readonly Confinement[], env: NodeJS.ProcessEnv): Promise<BoxTools> {
  const tool = (kind: Confinement, name: string) => (confinement.includes(kind) ? findProgram(name, env) : undefined);
  return {
    sh: '/bin/sh',
    bwrap: tool('namespaces', 'bwrap'),
    prlimit: tool('rlimits', 'prlimit'),
    chrt: tool('idle', 'chrt'),
    systemdRun: tool('cgroup', 'systemd-run'),
    root: process.getuid?.() === 0,
    system: (await Promise.all(SYSTEM.map(systemPath))).filter((found) => found !== undefined),
  };
}

async function systemPath(path: string): Promise<SystemPath | undefined> {
  const stats = await lstat(path).catch(() => undefined);
  if (!stats) return undefined;
  return stats.isSymbolicLink() ? { path, link: await readlink(path) } : { path };
}

const inSystem = (path: string): boolean => SYSTEM.some((folder) => path.startsWith(`${folder}/`));

async function writeFilter(path: string): Promise<string | undefined> {
  const machine = ({ x64: 'x86_64', arm64: 'aarch64' } as const)[arch() as 'x64'];
  if (!machine) return undefined;
  await writeFile(path, boxFilter(machine), { mode: 0o600 });
  return path;
}
