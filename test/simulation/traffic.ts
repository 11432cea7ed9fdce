/** Frames that guests send all the time, and the books on each: who should have it, who has it, who passed it on. */
import { HEADER_BYTES, LENGTH_BYTES, ttlOf } from '../../src/net/batch.ts';
import type { Switch } from '../../src/net/switch.ts';
import type { Batch } from '../../src/net/wire.ts';
import { BROADCAST, frame, macOf, runOfFrames } from '../harness/frames.ts';

/** Each frame carries its number behind the Ethernet header. */
const NUMBER_AT = LENGTH_BYTES + 14;
const FRAME_BYTES = 60;

export interface Sent {
  readonly source: number;
  /** 0: everybody. */
  readonly destination: number;
  /** How often each node has it; by place in `nodes`. */
  readonly got: Uint8Array;
  readonly passed: Uint8Array;
  delivered: number;
  /** Hops that its source gave it. */
  ttl: number;
}

export interface Traffic {
  readonly sent: readonly Sent[];
  readonly duplicates: number;
  /** Batches that one node passed on a second time. */
  readonly loops: number;
  readonly mostHops: number;
  /** 0: everybody. False: nobody is there to send it. */
  send(source: number, destination: number): Sent | undefined;
  got(frame: Sent, node: number): number;
  onSend(from: number, batch: Batch): void;
  onArrive(at: number, batch: Batch, task: () => void): void;
  onDeliver(at: number, run: Uint8Array): boolean;
}

export function createTraffic(
  clock: { now(): number },
  nodes: readonly number[],
  switchOf: (node: number) => Switch | undefined,
): Traffic {
  const rank = new Map(nodes.map((node, i) => [node, i]));
  const sent: Sent[] = [];
  const templates = new Map<number, Uint8Array>();
  let duplicates = 0;
  let loops = 0;
  let mostHops = 0;
  /** The frame that a switch is being given, and whether it has sent it on. */
  let handling: { readonly frame: Sent; readonly node: number; passed: boolean } | undefined;

  const numberAt = (bytes: Uint8Array, at: number) => new DataView(bytes.buffer, bytes.byteOffset + at, 4).getUint32(0);

  function template(source: number, destination: number): Uint8Array {
    const key = source * 65_536 + destination;
    let run = templates.get(key);
    if (!run) {
      const to = destination === 0 ? BROADCAST : macOf(destination);
      templates.set(key, (run = runOfFrames(frame({ to, from: macOf(source), length: FRAME_BYTES }))));
    }
    return run;
  }

  function during(frame: Sent, node: number, task: () => void): void {
    handling = { frame, node, passed: false };
    task();
    if (handling.passed && ++frame.passed[rank.get(node)!]! > 1) loops++;
    handling = undefined;
  }

  return {
    sent,
    get duplicates() {
      return duplicates;
    },
    get loops() {
      return loops;
    },
    get mostHops() {
      return mostHops;
    },
    send(source, destination) {
      const sw = switchOf(source);
      if (!sw) return undefined;
      const run = template(source, destination);
      new DataView(run.buffer, run.byteOffset + NUMBER_AT, 4).setUint32(0, sent.length);
      const frame: Sent = {
        source,
        destination,
        got: new Uint8Array(destination === 0 ? nodes.length : 1),
        passed: new Uint8Array(nodes.length),
        delivered: 0,
        ttl: 0,
      };
      sent.push(frame);
      during(frame, source, () => sw.fromPort(run));
      return frame;
    },
    got: (frame, node) => frame.got[frame.destination === 0 ? rank.get(node)! : 0]!,
    onSend(from, batch) {
      const frame = sent[numberAt(batch, HEADER_BYTES + NUMBER_AT)]!;
      if (handling?.frame !== frame || handling.node !== from) throw new Error('a batch left on its own');
      handling.passed = true;
      if (from === frame.source) frame.ttl = ttlOf(batch);
    },
    onArrive(at, batch, task) {
      const frame = sent[numberAt(batch, HEADER_BYTES + NUMBER_AT)]!;
      const hops = frame.ttl - ttlOf(batch) + 1;
      if (hops > frame.ttl) loops++;
      mostHops = Math.max(mostHops, hops);
      during(frame, at, task);
    },
    onDeliver(at, run) {
      const frame = sent[numberAt(run, NUMBER_AT)]!;
      const isFlood = frame.destination === 0;
      if (!isFlood && frame.destination !== at) throw new Error('a frame came to somebody else');
      if (at === frame.source) duplicates++;
      const place = isFlood ? rank.get(at)! : 0;
      if (++frame.got[place]! > 1) duplicates++;
      frame.delivered++;
      return true;
    },
  };
}
