/** A wire over one WebRTC data channel: one message is one batch. */
import { KithError } from '../base/errors.ts';
import { HEADER_BYTES } from '../net/batch.ts';
import type { BatchHandler, Wire } from '../net/wire.ts';
import { connectRtc, type RtcOptions } from './rtc.ts';

export interface WebrtcOptions extends RtcOptions {
  readonly onBatch: BatchHandler;
}

/** Beyond this we refuse: SCTP holds up to 1 MiB more, and at 10 Mbit/s both together are already 1.7 s of delay. */
const MAX_BUFFERED_BYTES = 1_048_576;

/** Reliable and ordered: with 64 KiB batches an unreliable channel would lose some 44 frames for each lost packet. */
export async function openWebrtc({ onBatch, ...options }: WebrtcOptions): Promise<Wire> {
  let open = true;
  let sentBytes = 0;
  let receivedBytes = 0;
  let drops = 0;
  const channel = await connectRtc(options, {
    onMessage(message) {
      if (!open) return;
      receivedBytes += message.length;
      onBatch(message);
    },
  });
  const maxBatch = channel.maxMessage;
  if (maxBatch <= HEADER_BYTES) {
    await channel[Symbol.asyncDispose]();
    throw new KithError({
      code: 'wire.dial-failed',
      message: `the peer takes messages of ${maxBatch} bytes only`,
      retry: 'never',
    });
  }
  const closed = channel.closed.then((reason) => {
    open = false;
    return reason;
  });
  return {
    rung: 'webrtc',
    maxBatch,
    send(batch) {
      if (
        !open ||
        batch.length > maxBatch ||
        channel.buffered() + batch.length > MAX_BUFFERED_BYTES ||
        !channel.send(batch)
      ) {
        drops++;
        return false;
      }
      sentBytes += batch.length;
      return true;
    },
    stats: () => ({ sentBytes, receivedBytes, drops, queuedBytes: channel.buffered() }),
    closed,
    async [Symbol.asyncDispose]() {
      open = false;
      await channel[Symbol.asyncDispose]();
    },
  };
}
