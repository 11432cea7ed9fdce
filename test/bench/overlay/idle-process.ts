/** One peer with many links and no traffic: each link on its ladder, held to one rung. Started by control.ts. */
import { systemClock } from '../../../src/base/clock.ts';
import { silentLog as log } from '../../../src/base/log.ts';
import { openDirectListener } from '../../../src/wire/direct-listener.ts';
import { openDirect } from '../../../src/wire/direct.ts';
import { keepLadder } from '../../../src/wire/ladder.ts';
import { createSignalRouter, type Signal } from '../../../src/wire/signaling.ts';
import { openWebrtc } from '../../../src/wire/webrtc.ts';
import { UNDERLAY, type Side } from './site.ts';

export type IdleMessage =
  | { readonly kind: 'open'; readonly side: Side; readonly rung: 'direct' | 'webrtc' }
  | { readonly kind: 'links'; readonly count: number }
  | { readonly kind: 'signal'; readonly signal: Signal };
export type IdleReply =
  | { readonly kind: 'up'; readonly residentBytes: number }
  | { readonly kind: 'signal'; readonly signal: Signal };

const LAN = 1;
const reply = (message: IdleReply): void => void process.send?.(message);
const router = createSignalRouter({ log, send: async (_to, signal) => reply({ kind: 'signal', signal }) });

async function open(side: Side, rung: 'direct' | 'webrtc'): Promise<(count: number) => Promise<void>> {
  const bindAddress = UNDERLAY[side];
  const offer = side === 'a';
  const listener = await openDirectListener({ bindAddress, log });
  let links = 0;
  return async (count) => {
    const added: Promise<void>[] = [];
    for (; links < count; links++) {
      const channel = `link-${links}`;
      const up = Promise.withResolvers<void>();
      added.push(up.promise);
      keepLadder({
        self: offer ? 1 : 2,
        node: offer ? 2 : 1,
        lan: LAN,
        rungs: [rung],
        offer,
        open(_rung, signal, onBatch) {
          const pipe = router.pipe({ peer: 'other', channel, offer });
          const common = { offer, pipe, onBatch, log, signal };
          return rung === 'direct'
            ? openDirect({ ...common, lan: LAN, listener })
            : openWebrtc({ ...common, bindAddress });
        },
        onBatch: () => {},
        attach: () => () => {},
        onState: (now) => {
          if (now === rung) up.resolve();
        },
        onMeasure: () => {},
        clock: systemClock,
        log,
      });
    }
    await Promise.all(added);
  };
}

let add: ((count: number) => Promise<void>) | undefined;
async function handle(message: IdleMessage): Promise<void> {
  if (message.kind === 'signal') {
    const { channel, session, data } = message.signal;
    return router.dispatch('other', channel, session, data);
  }
  if (message.kind === 'open') add = await open(message.side, message.rung);
  else await add?.(message.count);
  globalThis.gc?.();
  reply({ kind: 'up', residentBytes: process.memoryUsage.rss() });
}
process.on('message', (message: IdleMessage) => void handle(message));
process.once('disconnect', () => process.exit(0));
// Its links are all that it has, and their timers keep no process alive.
setInterval(() => {}, 60_000);
