/** A run directory that vanishes with its owner, even when the owner is killed: a watcher outlives us by a moment and cleans up. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { spawn, type ChildProcess } from 'node:child_process';
import { claimDirectory } from './claim.ts';
import { ownerOf } from './owner.ts';

export interface RunDirectory extends AsyncDisposable {
  readonly path: string;
  /** Kill this process, and the group that it leads, if we die without giving it back. */
  adopt(pid: number): void;
  release(pid: number): void;
}

// The watcher reads our pipe. End of file means that we are gone: kill what we left running, remove the directory.
// With a process goes its group, if it leads one (startChild sees to that): bubblewrap that is killed while it starts leaves a child.
// Names are passed as arguments, never spliced into the script. A named directory may have a new owner by now: then it stays.
const WATCH = `
trap '' HUP INT TERM
path=$1 owner=$2
shift 2
pids=$*
while read -r op pid; do
  case $op in
    +) pids="$pids $pid" ;;
    -) rest=; for p in $pids; do [ "$p" = "$pid" ] || rest="$rest $p"; done; pids=$rest ;;
  esac
done
for p in $pids; do
  kill -9 "$p" 2>/dev/null
  kill -s KILL -- "-$p" 2>/dev/null
done
# Until they are gone they can still make files. Bounded: a zombie that nobody reaps looks alive.
left=40
for p in $pids; do
  while [ "$left" -gt 0 ] && { kill -0 "$p" || kill -s 0 -- "-$p"; } 2>/dev/null; do sleep 0.05; left=$((left - 1)); done
done
if [ -n "$owner" ] && read -r now 2>/dev/null <"$path/owner" && [ "$now" != "$owner" ]; then exit; fi
rm -rf -- "$path"
`;

/** Makes `<parent>/<prefix>XXXXXX`, mode 0700. Disposing it removes it and everything in it. */
export async function openRunDirectory(parent: string, prefix: string): Promise<RunDirectory> {
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const path = await mkdtemp(join(parent, prefix));
  return guardDirectory(path);
}

/**
 * The same for a directory with a fixed name. Throws `base.directory-taken` when a living process has it; what a dead one
 * left behind is removed. A directory that was not made here is never touched.
 */
export async function openNamedRunDirectory(path: string): Promise<RunDirectory> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const owner = ownerOf(process.pid);
  await claimDirectory(path, owner);
  return guardDirectory(path, owner);
}

function guardDirectory(path: string, owner = ''): RunDirectory {
  const pids = new Set<number>();
  let disposed: Promise<void> | undefined;
  let watcher = startWatcher();

  function startWatcher(): ChildProcess {
    // Plain spawn, not startChild: this one process must survive us. detached: no terminal signal reaches it.
    const child = spawn('/bin/sh', ['-c', WATCH, 'kith-guard', path, owner, ...[...pids].map(String)], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    child.on('error', () => {});
    child.stdin?.on('error', () => {});
    child.on('exit', () => {
      if (disposed) return;
      watcher = startWatcher(); // somebody killed the watcher: stay guarded
    });
    child.unref();
    (child.stdin as unknown as { unref?: () => void } | null)?.unref?.();
    return child;
  }

  return {
    path,
    adopt(pid) {
      pids.add(pid);
      watcher.stdin?.write(`+ ${pid}\n`);
    },
    release(pid) {
      if (pids.delete(pid)) watcher.stdin?.write(`- ${pid}\n`);
    },
    [Symbol.asyncDispose]() {
      disposed ??= (async () => {
        const gone = new Promise<void>((resolve) => {
          // Without an id it could not be started, and will never end.
          if (watcher.pid === undefined || watcher.exitCode !== null || watcher.signalCode !== null) resolve();
          // A watcher that could not even be started never exits.
          else watcher.once('exit', () => resolve()).once('error', () => resolve());
        });
        watcher.ref();
        watcher.stdin?.end();
        await gone;
        await rm(path, { recursive: true, force: true });
      })();
      return disposed;
    },
  };
}
