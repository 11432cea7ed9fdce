/** Waiting for the owner's Ctrl-C. */

/** Resolves when the signal aborts. Sockets of a peer keep the process alive meanwhile, this does not. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
