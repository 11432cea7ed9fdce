/** Two wires joined in memory, with latency and loss under a clock: for tests, and for two switches in one process. */
import type { Clock } from '../base/clock.ts';
import type { Batch, BatchHandler, Wire } from '../net/wire.ts';

export interface MemoryPairOptions {
  /** What each end calls for a batch that arrives there. */
  readonly onBatch: readonly [BatchHandler, BatchHandler];
  /** Needed for a latency; without one, batches arrive in a microtask. */
  readonly clock?: Clock;
  readonly latencyMs?: number;
  /** Share of batches that vanish on the way, 0 to 1. */
  readonly loss?: number;
  /** Decides over losses; tests give a seeded one. */
  readonly random?: () => number;
  readonly maxBatch?: number;
  /** Bytes under way in one direction; above that the sending end refuses. */
  readonly maxQueuedBytes?: number;
}

const DEFAULT_MAX_BATCH = 65_536;
const DEFAULT_QUEUED_BYTES = 1_048_576;

interface End {
  readonly wire: Wire;
  arrive(batch: Batch): void;
  close(reason: string): void;
}

export function memoryPair(options: MemoryPairOptions): [Wire, Wire] {
  const ends: [End, End] = [createEnd(options, 0, () => ends[1]), createEnd(options, 1, () => ends[0])];
  return [ends[0].wire, ends[1].wire];
}

function createEnd(options: MemoryPairOptions, side: 0 | 1, other: () => End): End {
  const { clock, latencyMs = 0, loss = 0, random = Math.random, maxBatch = DEFAULT_MAX_BATCH } = options;
  const maxQueued = options.maxQueuedBytes ?? DEFAULT_QUEUED_BYTES;
  const onBatch = options.onBatch[side];
  const closed = Promise.withResolvers<string>();
  let open = true;
  let queued = 0;
  let sentBytes = 0;
  let receivedBytes = 0;
  let drops = 0;

  const close = (reason: string) => {
    open = false;
    closed.resolve(reason);
  };
  const later = (task: () => void) => {
    if (latencyMs > 0 && clock) clock.after(latencyMs, task);
    else queueMicrotask(task);
  };

  const wire: Wire = {
    rung: 'memory',
    maxBatch,
    send(batch) {
      if (!open || batch.length > maxBatch || queued + batch.length > maxQueued) {
        drops++;
        return false;
      }
      sentBytes += batch.length;
      if (loss > 0 && random() < loss) return true;
      // Not slice(): that of a Buffer is a view.
      const copy = new Uint8Array(batch);
      queued += copy.length;
      later(() => {
        queued -= copy.length;
        other().arrive(copy);
      });
      return true;
    },
    stats: () => ({ sentBytes, receivedBytes, drops, queuedBytes: queued }),
    closed: closed.promise,
    async [Symbol.asyncDispose]() {
      close('closed by us');
      other().close('closed by the peer');
    },
  };

  return {
    wire,
    close,
    arrive(batch) {
      if (!open) return;
      receivedBytes += batch.length;
      onBatch(batch);
    },
  };
}
