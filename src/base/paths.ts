/** Where Kith keeps its files: the XDG base directories (specification 0.8), one folder per kind and profile. */
import { lstat, mkdir } from 'node:fs/promises';
import { homedir, tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { KithError } from './errors.ts';

export interface Paths {
  /** `config.json` of the user. */
  readonly config: string;
  /** Accounts, per profile; secrets live here with mode 0600. */
  readonly state: string;
  /** Images by hash, probe results: everything in it can be made again. */
  readonly cache: string;
  /** Sockets and run directories of running peers; gone when they are. */
  readonly runtime: string;
}

export function kithPaths(env: NodeJS.ProcessEnv = process.env): Paths {
  const home = homedir();
  const at = (variable: string, fallback: string) => join(env[variable] || fallback, 'kith');
  return {
    config: at('XDG_CONFIG_HOME', join(home, '.config')),
    state: at('XDG_STATE_HOME', join(home, '.local', 'state')),
    cache: at('XDG_CACHE_HOME', join(home, '.cache')),
    // Without a session manager there is no XDG_RUNTIME_DIR; a folder of our own in /tmp, mode 0700, is the usual stand-in.
    runtime: env['XDG_RUNTIME_DIR'] ? join(env['XDG_RUNTIME_DIR'], 'kith') : join(tmpdir(), `kith-${userInfo().uid}`),
  };
}

/**
 * Makes the runtime directory, or checks the one that is there: in /tmp anybody can make ours before we do, and would then own
 * our sockets and read our guests' disks. Throws `base.unsafe-directory`.
 */
export async function openRuntimeDirectory(path: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  // Not recursive: that would follow a link.
  await mkdir(path, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const stats = await lstat(path);
  const why = !stats.isDirectory()
    ? 'it is not a directory'
    : stats.uid !== process.getuid?.()
      ? `it belongs to user ${stats.uid}`
      : (stats.mode & 0o077) !== 0
        ? 'others may enter it'
        : undefined;
  if (why === undefined) return path;
  throw new KithError({
    code: 'base.unsafe-directory',
    message: `the runtime directory ${path} is not safe to use: ${why}`,
    hint: 'remove it, or let XDG_RUNTIME_DIR name a directory that only you may enter',
  });
}
