/** Composition of wires: how each rung of a link is opened from this peer, and who signs what switches say. */
import { systemClock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Notary } from '../job/fabric.ts';
import type { WireRequest } from '../job/link.ts';
import type { Wire } from '../net/wire.ts';
import type { LinkRung } from '../protocol/messages.ts';
import { areBytesSignedBy, signBytes } from '../trust/signed.ts';
import { openBundle } from '../wire/bundle.ts';
import { openDirect } from '../wire/direct.ts';
import type { DirectListener } from '../wire/direct-listener.ts';
import { offered } from '../wire/offer.ts';
import type { SignalRouter } from '../wire/signaling.ts';
import { openStanza, type FrameChannel } from '../wire/stanza.ts';
import { createSpareCpu } from '../wire/spare-cpu.ts';
import { openWebrtc, type Path } from '../wire/webrtc.ts';
import { welcome, type PeerTrust } from './trust.ts';

export interface WireParts {
  readonly router: SignalRouter;
  readonly frames: FrameChannel;
  readonly listener: DirectListener;
  /** Address that data channels bind to; undefined: all of the machine. */
  readonly bindAddress: string | undefined;
  /** Asked at each dial: credentials of a TURN server that the XMPP server names expire. */
  readonly iceServers: () => Promise<readonly string[]>;
  readonly log: Log;
}

/** Peers whose paths are remembered; who is forgotten costs one more attempt. A LAN has at most 200 guests. */
const MAX_PATHS = 256;

export function createWires(parts: WireParts): (request: WireRequest) => Promise<Wire> {
  const { router, frames, listener, bindAddress, log } = parts;
  /** What the paths to peers bear, over the life of this process. */
  const paths = new Map<string, Path>();

  /** Who answers does nothing before there is an offer. */
  const pipe = (request: WireRequest) => {
    const open = router.pipe(request);
    return request.offer ? open : offered(open, request.signal);
  };

  const open: Record<LinkRung, (request: WireRequest) => Promise<Wire>> = {
    direct: async (request) => {
      const { offer, lan, onBatch, signal } = request;
      return openDirect({ listener, offer, lan, onBatch, signal, pipe: await pipe(request), log });
    },
    webrtc: (request) => {
      const { peer, channel, offer, onBatch, signal } = request;
      const path = paths.get(peer) ?? { narrow: false };
      paths.set(peer, path);
      if (paths.size > MAX_PATHS) paths.delete(paths.keys().next().value ?? '');
      const common = { offer, path, log, ...(bindAddress ? { bindAddress } : {}) };
      return openBundle({
        offer,
        onBatch,
        signal,
        clock: systemClock,
        log,
        hasSpareCpu: createSpareCpu(),
        open: async (number, signal, onBatch) => {
          // Both ends agreed on all but the first one: there the offer is on its way.
          const to = number === 0 ? pipe(request) : router.pipe({ peer, offer, channel: `${channel}:${number}` });
          const [open, iceServers] = await Promise.all([to, parts.iceServers()]);
          return openWebrtc({ ...common, onBatch, signal, pipe: open, iceServers });
        },
      });
    },
    stanza: async ({ peer, channel, onBatch }) => openStanza({ peer, link: channel, channel: frames, onBatch, log }),
  };

  return (request) => open[request.rung](request);
}

/** Notes of a peer count when the device that is welcome in the room has signed them. */
export const notaryOf = ({ device, circle }: PeerTrust): Notary => ({
  sign: (bytes) => signBytes(device, 'note', bytes),
  verify(peer, bytes, signature) {
    const key = welcome(circle.member(peer))?.device;
    return key !== undefined && areBytesSignedBy(key, 'note', bytes, signature);
  },
});
