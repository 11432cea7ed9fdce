/** Batches inside XMPP messages: the trickle that carries ARP, DHCP and a shell where nothing else gets through. */
import type { Log } from '../base/log.ts';
import type { BatchHandler, Wire } from '../net/wire.ts';
import { MAX_STANZA_FRAMES_BYTES } from '../protocol/limits.ts';
import { createTrickle, createTrickleReader } from './trickle.ts';

/** The way through the server: paced, unordered towards nobody else, and it may lose. The room xmpp/ implements it. */
export interface FrameChannel {
  /** Batches are gathered up to this size, and larger ones cut. */
  readonly maxPayload?: number;
  /** Hands over one payload of at most MAX_STANZA_FRAMES_BYTES. False: not taken, try again when ready. */
  send(to: string, link: string, payload: Uint8Array): boolean;
  /** Payloads from this peer for this link; the returned function ends it. The payload is the handler's until it returns. */
  listen(from: string, link: string, handler: (payload: Uint8Array) => void): () => void;
  /** True when a payload handed over now would leave now. */
  ready(to: string): boolean;
  /** Called whenever some peer may have become ready; the returned function ends it. */
  onReady(handler: () => void): () => void;
}

/** An empty payload says goodbye, so that the other end does not go on talking to a wire that is closed. */
const GOODBYE = new Uint8Array(0);

/** Of small batches, and as much of bulk: two full batches, so that a burst is not lost at once. Age is what bounds the wait (trickle.ts). */
const QUEUE_BYTES = 32_768;

/** A whole one fits into the largest payload. */
const MAX_BATCH = MAX_STANZA_FRAMES_BYTES - 2;

export interface StanzaOptions {
  /** Full JID of the other end. */
  readonly peer: string;
  /** Tells this wire from others to the same peer, at both ends alike: `link:<job>:1-2`, at most 160 characters. */
  readonly link: string;
  readonly channel: FrameChannel;
  readonly onBatch: BatchHandler;
  readonly log: Log;
  readonly maxQueuedBytes?: number;
  /** Milliseconds. */
  readonly now?: () => number;
}

export function openStanza(options: StanzaOptions): Wire {
  const { peer, link, channel, onBatch, log, now = () => performance.now() } = options;
  const queue = createTrickle({ now, maxBytes: options.maxQueuedBytes ?? QUEUE_BYTES });
  const reader = createTrickleReader((batch) => {
    receivedBytes += batch.length;
    onBatch(batch);
  });
  const closed = Promise.withResolvers<string>();
  let waiting: Uint8Array | undefined;
  let open = true;
  let sentBytes = 0;
  let receivedBytes = 0;
  let refused = 0;

  /** Packed payloads leave while the channel takes them. One that it refused is kept and offered again. */
  function flush(): void {
    if (!open) return;
    while (channel.ready(peer)) {
      const payload = waiting ?? queue.take(channel.maxPayload ?? MAX_STANZA_FRAMES_BYTES);
      // Gone before it is handed over: the channel may ask for the next one before send() has returned.
      waiting = undefined;
      if (!payload) return;
      if (channel.send(peer, link, payload)) continue;
      waiting = payload;
      return;
    }
  }

  function close(reason: string): void {
    if (!open) return;
    open = false;
    stopListening();
    stopWaiting();
    queue.clear();
    waiting = undefined;
    closed.resolve(reason);
  }

  const stopWaiting = channel.onReady(flush);
  const stopListening = channel.listen(peer, link, (payload) => {
    if (!open) return;
    if (payload.length === 0) return close('closed by the peer');
    if (payload.length > MAX_STANZA_FRAMES_BYTES) {
      refused++;
      return;
    }
    if (!reader.read(payload)) {
      refused++;
      log.debug('stanza payload refused', { peer, reason: 'lengths do not fit' });
    }
  });

  return {
    rung: 'stanza',
    maxBatch: MAX_BATCH,
    send(batch) {
      if (!open || batch.length > MAX_BATCH || batch.length === 0) {
        refused++;
        return false;
      }
      sentBytes += batch.length;
      queue.push(batch);
      flush();
      return true;
    },
    stats: () => ({
      sentBytes,
      receivedBytes,
      drops: refused + queue.dropped,
      queuedBytes: queue.bytes + (waiting?.length ?? 0),
    }),
    closed: closed.promise,
    async [Symbol.asyncDispose]() {
      if (open) channel.send(peer, link, GOODBYE);
      close('closed by us');
    },
  };
}
