/** The WebRTC library behind simple-peer, loaded with the first wire, and the seam through which we reach its data channel. */
import type * as Library from 'wrtc';
import type { DataChannel, PeerConnection } from 'wrtc';

/*
 * simple-peer negotiates through the W3C polyfill of node-datachannel. Its data path costs a stream and an Event per message, and
 * its error path throws inside the native callback (RTCDataChannel.mjs 0.33.4 uses RTCError without importing it), which ends
 * the process. So the polyfill gets a native connection of our making, whose channel we tap before the polyfill sees it.
 */

export interface NativeOptions {
  readonly iceServers: readonly string[];
  readonly bindAddress?: string;
  readonly mtu?: number;
  /** The first channel, before a single message can arrive. Others are closed unseen. */
  readonly onChannel: (channel: DataChannel) => void;
}

/** What simple-peer's `wrtc` option wants. The DOM types that it is declared with do not exist in Node's. */
export interface WebrtcLibrary {
  readonly RTCPeerConnection: unknown;
  readonly RTCSessionDescription: unknown;
  readonly RTCIceCandidate: unknown;
}

interface PolyfillDescription {
  readonly type: string;
  readonly sdp: string;
}

/** The part of the polyfill that we touch. */
interface PolyfillConnection extends EventTarget {
  onicecandidate: ((event: { candidate: null }) => void) | null;
  readonly iceGatheringState: string;
  createOffer(): Promise<PolyfillDescription>;
  createAnswer(): Promise<PolyfillDescription>;
}

/** Above libdatachannel's 256 KiB nothing is gained, below 64 KiB a frame of 65,000 bytes does not fit. */
export const MAX_MESSAGE_BYTES = 262_144;

/*
 * Settings hold for all connections of the process. The buffers are what one connection may have under way: 4 MiB are 670 Mbit/s at
 * 50 ms. Our own windows (window.ts, blob.ts) keep slow lines from filling them.
 */
const SCTP = { recvBufferSize: 4_194_304, sendBufferSize: 4_194_304, initialCongestionWindow: 32 };
let settled = false;

/** One library object per connection: its RTCPeerConnection is a factory for exactly this one. */
export async function loadWebrtc(options: NativeOptions): Promise<WebrtcLibrary> {
  const [native, { default: polyfill }] = await Promise.all([import('wrtc'), import('wrtc/polyfill')]);
  if (!settled) native.setSctpSettings(SCTP);
  settled = true;
  const Base = polyfill.RTCPeerConnection as unknown as new (config: object) => PolyfillConnection;

  class Connection extends Base {
    constructor() {
      super({ iceServers: [], peerConnection: tap(createNative(native, options), options.onChannel) });
      // libdatachannel rejects these two on its own at times; simple-peer asks for only one of them.
      super.createOffer().catch(() => {});
      super.createAnswer().catch(() => {});
      // The polyfill never says that there are no more candidates, which simple-peer waits for unless it trickles.
      this.addEventListener('icegatheringstatechange', () => {
        if (this.iceGatheringState === 'complete') this.onicecandidate?.({ candidate: null });
      });
    }

    // simple-peer assigns to `sdp`, which has only a getter in the polyfill.
    override async createOffer(): Promise<PolyfillDescription> {
      const { type, sdp } = await super.createOffer();
      return { type, sdp };
    }

    override async createAnswer(): Promise<PolyfillDescription> {
      const { type, sdp } = await super.createAnswer();
      return { type, sdp };
    }
  }

  return {
    RTCPeerConnection: Connection,
    RTCSessionDescription: polyfill.RTCSessionDescription,
    RTCIceCandidate: polyfill.RTCIceCandidate,
  };
}

function createNative(library: typeof Library, options: NativeOptions): PeerConnection {
  const { iceServers, bindAddress, mtu } = options;
  return new library.PeerConnection('kith', {
    iceServers: [...iceServers],
    maxMessageSize: MAX_MESSAGE_BYTES,
    ...(bindAddress === undefined ? {} : { bindAddress }),
    ...(mtu === undefined ? {} : { mtu }),
  });
}

function tap(connection: PeerConnection, onChannel: (channel: DataChannel) => void): PeerConnection {
  let taken = false;
  const take = (channel: DataChannel): DataChannel => {
    taken = true;
    onChannel(channel);
    return overlay(channel, UNHEARD);
  };
  return overlay<PeerConnection>(connection, {
    createDataChannel: (label, config) => take(connection.createDataChannel(label, config)),
    onDataChannel: (use) =>
      connection.onDataChannel((channel) => {
        if (taken) channel.close();
        else use(take(channel));
      }),
  });
}

/** Messages and errors of a channel are no business of the polyfill. */
const UNHEARD: Partial<DataChannel> = {
  onMessage: () => {},
  onError: () => {},
  onBufferedAmountLow: () => {},
  setBufferedAmountLowThreshold: () => {},
};

/** The native object with some methods replaced; its own properties are read-only, and its methods insist on the original `this`. */
function overlay<T extends object>(native: T, replaced: Partial<T>): T {
  return new Proxy(native, {
    get(target, key) {
      if (key in replaced) return replaced[key as keyof T];
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value;
    },
  });
}
