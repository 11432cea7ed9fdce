/** The owner's file as it is now: read at the start, again whenever it changes, and never replaced by one that is broken. */
import { watch } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describeError } from '../base/errors.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { readPolicy } from './policy-file.ts';
import type { PolicyFile } from './policy.ts';

/** Editors write in several steps, some with a moment in which the file is not there. */
const SETTLE_MS = 100;

/** fs.watch misses changes on network file systems and through links (Node.js, "fs.watch caveats"); a stat costs nothing. */
const LOOK_MS = 2000;

export interface PolicyStore extends AsyncDisposable {
  readonly path: string;
  /** The last one that was valid. */
  readonly current: PolicyFile;
  /** What is wrong with the file as it is now. */
  readonly fault: string | undefined;
  /** Reads it now; resolves when `current` and `fault` are those of the file. */
  reload(): Promise<void>;
}

/** Throws when the file is broken from the start: then there is no good one to go on with. */
export async function openPolicyStore(options: {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Another policy is in force. */
  readonly onChange: () => void;
}): Promise<PolicyStore> {
  const { path, clock, log, onChange } = options;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  let stamp = await stampOf(path);
  let current = await readPolicy(path);
  let fault: string | undefined;
  let reading: Promise<void> = Promise.resolve();
  let cancelSettling = () => {};
  let closed = false;

  const read = async () => {
    const next = await stampOf(path);
    try {
      const policy = await readPolicy(path);
      if (closed) return;
      fault = undefined;
      if (JSON.stringify(policy) !== JSON.stringify(current)) {
        current = policy;
        log.info('policy changed', { path });
        onChange();
      }
    } catch (error) {
      const why = describeError(error);
      if (why !== fault && !closed) log.warn('policy is broken, the last good one stays in force', { reason: why });
      fault = why;
    } finally {
      stamp = next;
    }
  };
  const reload = () => {
    reading = reading.then(read);
    return reading;
  };
  const soon = () => {
    cancelSettling();
    cancelSettling = clock.after(SETTLE_MS, () => void reload());
  };

  const look = async () => {
    if ((await stampOf(path)) !== stamp && !closed) soon();
  };
  const stopLooking = clock.every(LOOK_MS, () => void look());
  const stopWatching = watchFolder(dirname(path), soon, log);
  return {
    path,
    get current() {
      return current;
    },
    get fault() {
      return fault;
    },
    reload,
    async [Symbol.asyncDispose]() {
      closed = true;
      stopWatching();
      stopLooking();
      cancelSettling();
      await reading;
    },
  };
}

/** The folder and not the file: a file that is replaced by another one is watched no more. */
function watchFolder(folder: string, onEvent: () => void, log: Log): () => void {
  try {
    const watcher = watch(folder, { persistent: false }, onEvent);
    watcher.on('error', (error) => log.debug('policy is not watched', { reason: describeError(error) }));
    return () => watcher.close();
  } catch (error) {
    log.debug('policy is not watched', { reason: describeError(error) }); // out of watches: the looks go on
    return () => {};
  }
}

async function stampOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeMs, ctimeMs } = await stat(path);
    return [ino, size, mtimeMs, ctimeMs].join(' ');
  } catch {
    return 'none';
  }
}
