/** A wire over one WebRTC data channel: as few and as full messages as the guests' hurry allows, and never more under way than the path holds. */
import { KithError } from '../base/errors.ts';
import { FRAMES, HEADER_BYTES, typeOf } from '../net/batch.ts';
import type { BatchHandler, Wire } from '../net/wire.ts';
import {
  createPacker,
  isData,
  MESSAGE_BYTES,
  PACKING_BYTES,
  probedMessage,
  probeMessage,
  readMessage,
  receivedMessage,
} from './packing.ts';
import { connectRtc, type RtcChannel, type RtcOptions } from './rtc.ts';
import { createReceipts, createWindow, STEP_BYTES } from './window.ts';

export interface WebrtcOptions extends RtcOptions {
  readonly onBatch: BatchHandler;
  /** What earlier attempts on this link found out; without it, packets are of a size that passes everywhere. */
  readonly path?: Path;
}

/** Belongs to whoever opens wires over one link again and again. */
export interface Path {
  /** Large packets did not arrive. */
  narrow: boolean;
}

/**
 * The library's "mtu" minus 31 is the IPv4 packet it sends (it counts with IPv6 and with the largest cipher): 1459 bytes, which passes
 * Ethernet, PPPoE (1492) and clouds of 1460. SCTP here cannot find the path's limit by itself, and packets leave with the DF flag set
 * (libjuice, udp.c): where they do not fit they vanish, while small ones pass. Hence the probe.
 */
const WIDE_MTU = 1490;
/** Covers two losses of the probe; SCTP repeats after one second. */
const PROBE_MS = 4000;

/** The guests' frames wait here once the path is full: this long, but at least a large batch and never more than the cap. */
const QUEUE_MS = 50;
const MIN_QUEUE_BYTES = 131_072;
const MAX_QUEUE_BYTES = 1_048_576;
/** Room that frames may not take: hellos and notes get through a full queue. */
const RESERVED_BYTES = 65_536;

/** Reliable and ordered: with 64 KiB batches an unreliable channel would lose some 44 frames for each lost packet. */
export async function openWebrtc({ onBatch, path, ...options }: WebrtcOptions): Promise<Wire> {
  const now = () => performance.now();
  const packer = createPacker();
  const window = createWindow(now);
  const receipts = createReceipts(now);
  const probed = Promise.withResolvers<void>();
  let channel: RtcChannel | undefined;
  let replies: Uint8Array[] = [];
  let open = true;
  /** The other end's probe, of which there is one. */
  let answered = false;
  let sentBytes = 0;
  let receivedBytes = 0;
  let drops = 0;

  const reply = (message: Uint8Array) => {
    if (channel) channel.send(message);
    else replies.push(message); // messages may come before connectRtc has returned
  };

  const handlers = {
    onBatch(batch: Uint8Array) {
      receivedBytes += batch.length;
      onBatch(batch);
    },
    onReceived(total: number) {
      if (!window.read(total)) throw unexpected();
      flush();
    },
    onProbe() {
      // One who asks for answers that he does not read would fill our memory: SCTP queues without a limit.
      if (answered) throw unexpected();
      answered = true;
      reply(probedMessage());
    },
    onProbed: () => probed.resolve(),
  };

  /** Hot path. Full messages go as long as the window is open; one that is not full waits only while there is enough under way. */
  function flush(): void {
    while (packer.bytes > 0 && window.open && (packer.bytes >= MESSAGE_BYTES || !window.backlogged)) {
      const message = packer.take()!;
      window.sent(message.length);
      if (!channel?.send(message)) return;
    }
  }

  function hasRoom(batch: Uint8Array): boolean {
    if (packer.bytes === 0) return true;
    const queue = Math.min(Math.max(window.passes(QUEUE_MS), MIN_QUEUE_BYTES), MAX_QUEUE_BYTES);
    return packer.bytes + batch.length <= (typeOf(batch) === FRAMES ? queue : queue + RESERVED_BYTES);
  }

  const wide = path !== undefined && !path.narrow;
  channel = await connectRtc(wide ? { ...options, mtu: WIDE_MTU } : options, {
    onMessage(message) {
      if (!open) return;
      if (!readMessage(message, handlers)) throw unexpected();
      const total = isData(message) ? receipts.add(message.length) : undefined;
      if (total !== undefined) reply(receivedMessage(total));
    },
  });
  const closed = channel.closed.then((reason) => {
    open = false;
    return reason;
  });
  for (const message of replies.splice(0)) channel.send(message);

  const maxBatch = channel.maxMessage - PACKING_BYTES;
  try {
    if (maxBatch <= HEADER_BYTES) throw tooSmall(channel.maxMessage);
    if (wide) await passes(channel, path, probed.promise);
  } catch (error) {
    await channel[Symbol.asyncDispose]();
    throw error;
  }
  const live = channel;
  return {
    rung: 'webrtc',
    maxBatch,
    send(batch) {
      if (!open || batch.length > maxBatch || batch.length === 0 || !hasRoom(batch)) {
        drops++;
        return false;
      }
      sentBytes += batch.length;
      packer.add(batch);
      flush();
      return true;
    },
    // The other end speaks up once in a step: less than that may have arrived.
    stats: () => ({
      sentBytes,
      receivedBytes,
      drops,
      queuedBytes: packer.bytes + Math.max(live.buffered(), window.unread - STEP_BYTES),
    }),
    closed,
    async [Symbol.asyncDispose]() {
      open = false;
      await live[Symbol.asyncDispose]();
    },
  };
}

/** A packet of the largest size and its answer. Both ends send one; when the wire ends before, that is no yes either. */
async function passes(channel: RtcChannel, path: Path, probed: Promise<void>): Promise<void> {
  channel.send(probeMessage(WIDE_MTU));
  const late = Promise.withResolvers<string>();
  const timer = setTimeout(() => late.resolve(`no answer within ${PROBE_MS / 1000} s`), PROBE_MS);
  const reason = await Promise.race([probed, channel.closed, late.promise]);
  clearTimeout(timer);
  if (reason === undefined) return;
  path.narrow = true;
  throw new KithError({
    code: 'wire.path-mtu',
    message: `packets of ${WIDE_MTU} bytes do not pass: ${reason}`,
    hint: 'the next attempt uses smaller ones',
    retry: 'later',
  });
}

const tooSmall = (bytes: number) =>
  new KithError({
    code: 'wire.dial-failed',
    message: `the peer takes messages of ${bytes} bytes only`,
    retry: 'never',
  });

const unexpected = () =>
  new KithError({ code: 'wire.webrtc-message', message: 'this is no message of a webrtc wire', retry: 'never' });
