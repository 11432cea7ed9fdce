/** Waits for the other end's offer: an end that only answers costs nothing until there is something to answer. */
import { orAborted } from '../base/abort.ts';
import type { SignalPipe } from './signaling.ts';

/** As many as signaling.ts keeps for a pipe that nobody listens to yet. */
const MAX_EARLY_SIGNALS = 8;

/** The pipe once its first signal is there; none is lost. Given back when the wait is aborted. */
export async function offered(pipe: SignalPipe, signal: AbortSignal): Promise<SignalPipe> {
  const first = Promise.withResolvers<void>();
  const early: unknown[] = [];
  const stop = pipe.onData((data) => {
    if (early.length < MAX_EARLY_SIGNALS) early.push(data);
    first.resolve();
  });
  try {
    await orAborted(first.promise, signal);
  } catch (cause) {
    stop();
    pipe[Symbol.dispose]?.();
    throw cause;
  }
  return {
    send: (data) => pipe.send(data),
    onData(handler) {
      stop();
      const stopLater = pipe.onData(handler);
      for (const data of early.splice(0)) handler(data);
      return stopLater;
    },
    onSuperseded: (handler) => pipe.onSuperseded?.(handler) ?? (() => {}),
    [Symbol.dispose]: () => pipe[Symbol.dispose]?.(),
  };
}
