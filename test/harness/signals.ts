/** Two peers whose signals reach each other in this process, through JSON as over the mailbox. */
import { silentLog } from '../../src/base/log.ts';
import { createSignalRouter, type Signal, type SignalRouter } from '../../src/wire/signaling.ts';

export interface SignalPair {
  /** Forgets all attempts at the side of `a`, as a process that starts again does. */
  restart(): void;
  readonly a: SignalRouter;
  readonly b: SignalRouter;
  /** All signals so far, as they went over. */
  readonly log: { readonly from: 'a' | 'b'; readonly signal: Signal }[];
}

export function signalPair(change: (signal: Signal, from: 'a' | 'b') => Signal[] = (signal) => [signal]): SignalPair {
  const log: SignalPair['log'] = [];
  const router = (self: 'a' | 'b', other: () => SignalRouter) =>
    createSignalRouter({
      log: silentLog,
      async send(to, signal) {
        if (to === self) throw new Error(`${to} sends to itself`);
        log.push({ from: self, signal });
        for (const { channel, session, data } of change(signal, self)) {
          const copy = JSON.parse(JSON.stringify(data)) as unknown;
          setImmediate(() => other().dispatch(self, channel, session, copy));
        }
      },
    });
  const ends: { a: SignalRouter; b: SignalRouter } = { a: router('a', () => ends.b), b: router('b', () => ends.a) };
  return {
    log,
    b: ends.b,
    get a() {
      return ends.a;
    },
    restart() {
      ends.a = router('a', () => ends.b);
    },
  };
}

/** All addresses of candidates that went over. */
export function addressesOf({ log }: SignalPair): Set<string> {
  const text = JSON.stringify(log);
  return new Set([...text.matchAll(/candidate:\S+ \d+ \w+ \d+ (\S+) \d+ typ/g)].map(([, address]) => address!));
}
