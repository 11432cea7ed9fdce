/** One open wire of a link: what came and went over it, and the hellos that travel beside the frames. */
import type { Clock } from '../base/clock.ts';
import { decodeHeader, encodeBatch, FRAMES, HEADER_BYTES, PROBE, PROBE_REPLY } from '../net/batch.ts';
import type { Batch, BatchHandler, Wire } from '../net/wire.ts';
import { createHello, type Hello } from './hello.ts';

export type LinkRung = 'direct' | 'webrtc' | 'stanza';

/** Epoch of a hello whose sender has sent its last frame on this wire. Wires keep the order: nothing of it is under way behind. */
const LEFT = 1;

const TYPE_BITS = 0x0f;

export interface LaneOptions {
  readonly rung: LinkRung;
  /** Node numbers of both ends, and the LAN: hellos of anybody else are nothing to us. */
  readonly self: number;
  readonly node: number;
  readonly lan: number;
  readonly clock: Clock;
  /** Frames and notes. */
  readonly onBatch: BatchHandler;
  /** Something came that is not an answer: the other end uses this wire. */
  readonly onUse: () => void;
  readonly onProved: () => void;
  readonly onMeasure: () => void;
  readonly onSilent: (reason: string) => void;
  /** The other end has left this wire. */
  readonly onPeerLeft: () => void;
}

export interface Lane {
  readonly rung: LinkRung;
  readonly wire: Wire;
  readonly hello: Hello;
  readonly openedAt: number;
  /** What the switch sends on: counts frames, and sees that the link is used. */
  readonly face: Wire;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly peerLeft: boolean;
  /** We have said that we left. */
  readonly left: boolean;
  sayLeft(): void;
}

/** What arrives while the wire is still being opened is waited for by somebody: it is let in before there is a lane. */
export interface LaneDoor {
  /** Hot path. */
  readonly onBatch: BatchHandler;
  opened(wire: Wire): Lane;
}

export function createLaneDoor(options: LaneOptions): LaneDoor {
  const { rung, self, node, lan, clock } = options;
  let hello: Hello | undefined;
  let wire: Wire | undefined;
  let early: number | undefined;
  let sequence = Math.floor(Math.random() * 2 ** 32);
  let sentBytes = 0;
  let receivedBytes = 0;
  let peerLeft = false;
  let left = false;

  const send = (type: typeof PROBE | typeof PROBE_REPLY, number: number) => {
    const epoch = left ? LEFT : 0;
    wire?.send(encodeBatch({ type, ttl: 1, source: self, destination: node, lan, epoch, life: 0, sequence: number }));
    return number;
  };
  const ask = () => {
    sequence = (sequence + 1) >>> 0;
    return send(PROBE, sequence);
  };

  function fromHello(batch: Batch): void {
    const head = decodeHeader(batch);
    if (!head || head.lan !== lan || head.source !== node || head.destination !== self) return;
    if (head.type === PROBE_REPLY) return hello?.answered(head.sequence);
    if (!hello) {
      early = head.sequence;
      return;
    }
    send(PROBE_REPLY, head.sequence);
    hello.asked();
    if (head.epoch !== LEFT) {
      peerLeft = false; // a stanza wire outlives the other end's leaving: it has come back
      return options.onUse();
    }
    if (peerLeft) return;
    peerLeft = true;
    options.onPeerLeft();
  }

  return {
    onBatch(batch) {
      if (batch.length < HEADER_BYTES) return;
      const type = batch[0]! & TYPE_BITS;
      if (type === PROBE || type === PROBE_REPLY) return fromHello(batch);
      receivedBytes += batch.length;
      hello?.heard(type === FRAMES);
      options.onUse();
      options.onBatch(batch);
    },
    opened(opened) {
      wire = opened;
      const sayings = createHello({
        kind: rung === 'stanza' ? 'stanza' : 'live',
        clock,
        ask,
        onProved: options.onProved,
        onMeasure: options.onMeasure,
        onSilent: options.onSilent,
      });
      hello = sayings;
      if (early !== undefined) send(PROBE_REPLY, early);
      return {
        rung,
        wire: opened,
        hello: sayings,
        openedAt: clock.now(),
        face: {
          rung: opened.rung,
          maxBatch: opened.maxBatch,
          closed: opened.closed,
          send(batch) {
            if ((batch[0]! & TYPE_BITS) === FRAMES) sayings.used();
            if (!opened.send(batch)) return false;
            sentBytes += batch.length;
            return true;
          },
          stats: () => opened.stats(),
          [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
        },
        get sentBytes() {
          return sentBytes;
        },
        get receivedBytes() {
          return receivedBytes;
        },
        get peerLeft() {
          return peerLeft;
        },
        get left() {
          return left;
        },
        sayLeft() {
          left = true;
          ask();
        },
      };
    },
  };
}
