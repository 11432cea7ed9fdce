/** A port without a guest: keeps copies of the frames that it was given. */
import { frames } from '../../src/net/batch.ts';
import type { Port } from '../../src/net/port.ts';

export interface MemoryPort extends Port, AsyncDisposable {
  readonly frames: Uint8Array[];
  /** From now on it takes nothing, like a guest that does not read. */
  stall(): void;
}

export function createMemoryPort(name = 'guest'): MemoryPort {
  const kept: Uint8Array[] = [];
  const closed = Promise.withResolvers<string>();
  let open = true;
  let stalled = false;
  return {
    name,
    frames: kept,
    stall() {
      stalled = true;
    },
    send(run) {
      if (!open || stalled) return false;
      for (const frame of frames(run)) kept.push(new Uint8Array(frame));
      return true;
    },
    closed: closed.promise,
    async [Symbol.asyncDispose]() {
      open = false;
      closed.resolve('closed by us');
    },
  };
}
