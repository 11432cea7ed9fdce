/** A place where frames can be looked at: nothing but one comparison while nobody does. */
import { FRAMES, frames, runOf, typeOf } from './batch.ts';
import type { Direction } from './pcapng.ts';
import type { Run } from './port.ts';
import type { Batch, BatchHandler, Wire } from './wire.ts';

/** The frame is the callee's until it returns. Must not throw. */
export type Observer = (frame: Uint8Array, direction: Direction) => void;

export interface Tap {
  /** Adds somebody who looks; the returned function takes him away. */
  watch(observer: Observer): () => void;
  /** Hot path. */
  see(run: Run, direction: Direction): void;
  /** Hot path. Hellos and notes are no frames. */
  seeBatch(batch: Batch, direction: Direction): void;
}

export function createTap(): Tap {
  // An array that is replaced, never changed: an observer may go while it is called.
  let observers: readonly Observer[] = [];
  const see = (run: Run, direction: Direction): void => {
    if (observers.length === 0) return;
    for (const frame of frames(run)) for (const observe of observers) observe(frame, direction);
  };
  return {
    watch(observer) {
      const own: Observer = (frame, direction) => observer(frame, direction);
      observers = [...observers, own];
      return () => {
        observers = observers.filter((each) => each !== own);
      };
    },
    see,
    seeBatch(batch, direction) {
      if (observers.length > 0 && typeOf(batch) === FRAMES) see(runOf(batch), direction);
    },
  };
}

/** What a wire takes goes past the tap. Below a shaper: what is seen is what leaves. */
export function tapWire(tap: Tap, wire: Wire): Wire {
  return {
    rung: wire.rung,
    maxBatch: wire.maxBatch,
    closed: wire.closed,
    send(batch) {
      const sent = wire.send(batch);
      if (sent) tap.seeBatch(batch, 'outbound');
      return sent;
    },
    stats: () => wire.stats(),
    [Symbol.asyncDispose]: () => wire[Symbol.asyncDispose](),
  };
}

/** What arrives goes past the tap, before the switch judges it. */
export const tapBatches =
  (tap: Tap, onBatch: BatchHandler): BatchHandler =>
  (batch) => {
    tap.seeBatch(batch, 'inbound');
    onBatch(batch);
  };
