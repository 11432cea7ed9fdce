/** Batches inside XMPP messages: the trickle that carries ARP, DHCP and a shell where nothing else gets through. */
import type { Log } from '../base/log.ts';
import { BoundedQueue } from '../base/queue.ts';
import type { Batch, BatchHandler, Wire } from '../net/wire.ts';
import { MAX_STANZA_FRAMES_BYTES } from '../protocol/limits.ts';

/** The way through the server: paced, unordered towards nobody else, and it may lose. The room xmpp/ implements it. */
export interface FrameChannel {
  /** Batches are gathered up to this size; a larger one travels alone. */
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

/*
 * A payload is [length u16][batch] repeated: while the server's pace holds us back, batches gather and leave together.
 * An empty payload says goodbye, so that the other end does not go on talking to a wire that is closed.
 */
const PREFIX_BYTES = 2;
const GOODBYE = new Uint8Array(0);

/** At the 3,000 bytes per second of an ejabberd server this is 11 s of traffic; older frames than that help nobody. */
const QUEUE_BYTES = 32_768;

export interface StanzaOptions {
  /** Full JID of the other end. */
  readonly peer: string;
  /** Tells this wire from others to the same peer, at both ends alike: `link:<job>:1-2`, at most 160 characters. */
  readonly link: string;
  readonly channel: FrameChannel;
  readonly onBatch: BatchHandler;
  readonly log: Log;
  readonly maxQueuedBytes?: number;
}

export function openStanza(options: StanzaOptions): Wire {
  const { peer, link, channel, onBatch, log } = options;
  const maxBatch = MAX_STANZA_FRAMES_BYTES - PREFIX_BYTES;
  const queue = new BoundedQueue<Batch>(options.maxQueuedBytes ?? QUEUE_BYTES, (batch) => PREFIX_BYTES + batch.length);
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
      waiting ??= pack(queue, channel.maxPayload ?? MAX_STANZA_FRAMES_BYTES);
      if (!waiting || !channel.send(peer, link, waiting)) return;
      waiting = undefined;
    }
  }

  function close(reason: string): void {
    if (!open) return;
    open = false;
    stopListening();
    stopWaiting();
    refused += queue.length;
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
    const whole = unpack(payload, (batch) => {
      receivedBytes += batch.length;
      onBatch(batch);
    });
    if (!whole) {
      refused++;
      log.debug('stanza payload refused', { peer, reason: 'lengths do not fit' });
    }
  });

  return {
    rung: 'stanza',
    maxBatch,
    send(batch) {
      if (!open || batch.length > maxBatch || batch.length === 0) {
        refused++;
        return false;
      }
      sentBytes += batch.length;
      // Not slice(): that of a Buffer is a view.
      queue.push(new Uint8Array(batch));
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

/** As many whole batches as fit into one payload, oldest first, but at least one. */
function pack(queue: BoundedQueue<Batch>, max: number): Uint8Array | undefined {
  const batches: Batch[] = [];
  let size = 0;
  for (let next = queue.peek(); next; next = queue.peek()) {
    if (size > 0 && size + PREFIX_BYTES + next.length > max) break;
    batches.push(next);
    size += PREFIX_BYTES + next.length;
    queue.shift();
  }
  if (size === 0) return undefined;
  const payload = new Uint8Array(size);
  let at = 0;
  for (const batch of batches) {
    payload[at] = batch.length >>> 8;
    payload[at + 1] = batch.length & 0xff;
    payload.set(batch, at + PREFIX_BYTES);
    at += PREFIX_BYTES + batch.length;
  }
  return payload;
}

/** Hands out each batch as a view. False when the lengths do not add up to the payload; what came before was handed out. */
function unpack(payload: Uint8Array, use: (batch: Batch) => void): boolean {
  let at = 0;
  while (at < payload.length) {
    if (at + PREFIX_BYTES > payload.length) return false;
    const length = (payload[at]! << 8) | payload[at + 1]!;
    const end = at + PREFIX_BYTES + length;
    if (length === 0 || end > payload.length) return false;
    use(payload.subarray(at + PREFIX_BYTES, end));
    at = end;
  }
  return true;
}
