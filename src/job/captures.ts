/** Captures that run on this peer: each belongs to a lease and ends with it, or when nobody reads it any more. */
import type { Clock } from '../base/clock.ts';
import { KithError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { createRecorder, type Piece, type Recorder } from '../net/recorder.ts';
import type { Tap } from '../net/tap.ts';

/** Each may hold 1 MiB of our memory. */
const MAX_PER_LEASE = 4;
/** A read waits so long for the first frame, far below the deadline of a request. */
const WAIT_MS = 5000;
/** Frames that come together are read together: each page is a message in the room. */
const GATHER_MS = 100;
/** Who reads comes back at once; who does not has gone. */
const FORGOTTEN_MS = 30_000;

export interface Captures {
  open(lease: string, tap: Tap, snapLength: number): string;
  /** What waits, up to so many bytes; after a moment if nothing does. */
  read(lease: string, capture: string, maxBytes: number): Promise<Piece>;
  close(lease: string, capture: string): void;
  /** The lease has ended. */
  drop(lease: string): void;
}

interface Entry {
  readonly lease: string;
  readonly recorder: Recorder;
  readonly ended: PromiseWithResolvers<void>;
  forget: () => void;
}

export function createCaptures(clock: Clock): Captures {
  const entries = new Map<string, Entry>();

  const find = (lease: string, id: string): Entry => {
    const entry = entries.get(id);
    if (entry?.lease === lease) return entry;
    throw new KithError({
      code: 'capture.ended',
      message: 'that capture has ended: its guest did, or nobody read it for a while',
      hint: 'start another one',
      retry: 'never',
    });
  };
  const end = (id: string, entry: Entry): void => {
    entries.delete(id);
    entry.forget();
    entry.recorder[Symbol.dispose]();
    entry.ended.resolve();
  };
  const remember = (id: string, entry: Entry): void => {
    entry.forget();
    entry.forget = clock.after(FORGOTTEN_MS, () => end(id, entry));
  };

  return {
    open(lease, tap, snapLength) {
      if ([...entries.values()].filter((entry) => entry.lease === lease).length >= MAX_PER_LEASE) {
        throw new KithError({
          code: 'capture.too-many',
          message: `${MAX_PER_LEASE} captures run at that guest already`,
          hint: `end one with Ctrl-C; one that was killed ends by itself after ${FORGOTTEN_MS / 1000} s`,
          retry: 'later',
        });
      }
      const id = newId();
      const entry: Entry = {
        lease,
        recorder: createRecorder(tap, { snapLength, now: () => performance.timeOrigin + performance.now() }),
        ended: Promise.withResolvers(),
        forget: () => {},
      };
      entries.set(id, entry);
      remember(id, entry);
      return id;
    },
    async read(lease, id, maxBytes) {
      const entry = find(lease, id);
      remember(id, entry);
      await waitFor(clock, WAIT_MS, [entry.recorder.waiting, entry.ended.promise]);
      if (!entry.recorder.isFull(maxBytes)) await waitFor(clock, GATHER_MS, [entry.ended.promise]);
      return entry.recorder.take(maxBytes);
    },
    close(lease, id) {
      end(id, find(lease, id));
    },
    drop(lease) {
      for (const [id, entry] of entries) if (entry.lease === lease) end(id, entry);
    },
  };
}

async function waitFor(clock: Clock, ms: number, any: readonly Promise<void>[]): Promise<void> {
  const late = Promise.withResolvers<void>();
  const cancel = clock.after(ms, late.resolve);
  await Promise.race([...any, late.promise]);
  cancel();
}
