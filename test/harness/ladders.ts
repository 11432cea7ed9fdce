/** Both ends of one link on two ladders, over memory wires that can be slow, cut, or silently dead, while time stands still. */
import { setImmediate as turn } from 'node:timers/promises';
import { silentLog } from '../../src/base/log.ts';
import { encodeBatch, FRAMES } from '../../src/net/batch.ts';
import type { Batch, BatchHandler, Wire } from '../../src/net/wire.ts';
import { keepLadder, type Ladder, type LadderState, type LinkRung, type Measure } from '../../src/wire/ladder.ts';
import { memoryPair } from '../../src/wire/memory.ts';
import { virtualClock, type VirtualClock } from './virtual-clock.ts';

/** What the world between the two ends does. */
export interface Way {
  works: boolean;
  /** From an offer to a wire. */
  dialMs: number;
  /** One way. */
  latencyMs: number;
  /** Batches vanish, nothing says so. */
  silent: boolean;
  /** Bytes that wires say they still have to send. */
  held: number;
}

export interface End {
  readonly ladder: Ladder;
  /** The wire to send on. */
  readonly wire: Wire | undefined;
  readonly rung: LadderState['rung'];
  /** Rungs that were attached, in order; `down` where none was. */
  readonly moves: string[];
  readonly measures: Measure[];
  /** Numbers of the frames that arrived. */
  readonly heard: number[];
  /** Sends a frame with this number. */
  send(number: number): boolean;
}

export interface Ladders extends AsyncDisposable {
  readonly clock: VirtualClock;
  /** The offering end. */
  readonly a: End;
  readonly b: End;
  readonly ways: Record<LinkRung, Way>;
  /** Attempts of the offering end so far. */
  readonly dialled: LinkRung[];
  /** Open wires by rung: pairs, offering end first. */
  readonly open: { readonly rung: LinkRung; readonly ends: readonly [Wire, Wire] }[];
  /** Hellos and frames that both ends have sent, by rung. */
  readonly batches: Record<LinkRung, number>;
  pass(ms: number): Promise<void>;
  until(what: () => boolean): Promise<void>;
}

interface Listener {
  readonly onBatch: BatchHandler;
  readonly give: (wire: Wire) => void;
}

const LAN = 7;
const STEP_MS = 10;

export function openLadders(
  options: { readonly rungs?: readonly LinkRung[]; readonly ways?: Partial<Record<LinkRung, Partial<Way>>> } = {},
): Ladders {
  const clock = virtualClock();
  const rungs = options.rungs ?? ['direct', 'webrtc', 'stanza'];
  const way = (rung: LinkRung, dialMs: number, latencyMs: number): Way => ({
    works: true,
    dialMs,
    latencyMs,
    silent: false,
    held: 0,
    ...options.ways?.[rung],
  });
  const ways = { direct: way('direct', 50, 1), webrtc: way('webrtc', 400, 20), stanza: way('stanza', 1, 100) };
  const listeners = new Map<LinkRung, Listener>();
  const waiting = new Map<LinkRung, () => void>();
  const dialled: LinkRung[] = [];
  const open: { rung: LinkRung; ends: readonly [Wire, Wire] }[] = [];
  const batches: Record<LinkRung, number> = { direct: 0, webrtc: 0, stanza: 0 };

  /** On a silent way nobody hears of an end either. */
  const unheard = (rung: LinkRung, wire: Wire): Wire => {
    const closed = Promise.withResolvers<string>();
    void wire.closed.then((reason) => ways[rung].silent || closed.resolve(reason));
    return {
      ...wire,
      stats: () => ({ ...wire.stats(), queuedBytes: wire.stats().queuedBytes + ways[rung].held }),
      closed: closed.promise,
      async [Symbol.asyncDispose]() {
        closed.resolve('closed by us');
        if (!ways[rung].silent) await wire[Symbol.asyncDispose]();
      },
    };
  };

  const join = (rung: LinkRung, a: BatchHandler, b: BatchHandler) => {
    const via = (handler: BatchHandler) => (batch: Batch) => {
      batches[rung]++;
      if (!ways[rung].silent) handler(batch);
    };
    const maxBatch = rung === 'stanza' ? 11_998 : 65_536;
    const pair = memoryPair({ onBatch: [via(a), via(b)], clock, latencyMs: ways[rung].latencyMs, maxBatch });
    const ends = [unheard(rung, pair[0]), unheard(rung, pair[1])] as const;
    const entry = { rung, ends };
    open.push(entry);
    void Promise.all(ends.map(({ closed }) => closed)).then(() => open.splice(open.indexOf(entry), 1));
    return ends;
  };

  /** Rejects when the attempt is given up. */
  const attempt = (signal: AbortSignal, run: (give: (wire: Wire) => void, fail: (why: Error) => void) => void) =>
    new Promise<Wire>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error));
      run(resolve, reject);
    });

  const dial = (rung: LinkRung, signal: AbortSignal, onBatch: BatchHandler) => {
    dialled.push(rung);
    return attempt(signal, (give, fail) => {
      const meet = () => {
        if (signal.aborted) return;
        const listener = listeners.get(rung);
        if (!ways[rung].works) return fail(new Error(`no ${rung} here`));
        // The other end does not listen yet: an offer waits for it, and ends what it takes for a wire.
        if (!listener) {
          waiting.set(rung, meet);
          void open.findLast((each) => each.rung === rung)?.ends[1][Symbol.asyncDispose]();
          return;
        }
        listeners.delete(rung);
        const [mine, other] = join(rung, onBatch, listener.onBatch);
        listener.give(other);
        give(mine);
      };
      clock.after(ways[rung].dialMs, meet);
    });
  };

  const listen = (rung: LinkRung, signal: AbortSignal, onBatch: BatchHandler) =>
    attempt(signal, (give) => {
      const listener = { onBatch, give };
      listeners.set(rung, listener);
      signal.addEventListener('abort', () => listeners.get(rung) === listener && listeners.delete(rung));
      waiting.get(rung)?.();
      waiting.delete(rung);
    });

  const end = (self: number, offer: boolean): End => {
    const moves: string[] = [];
    const measures: Measure[] = [];
    const heard: number[] = [];
    let wire: Wire | undefined;
    const node = 3 - self;
    const ladder = keepLadder({
      self,
      node,
      lan: LAN,
      offer,
      rungs,
      open: offer ? dial : listen,
      onBatch: (batch) => heard.push(new DataView(batch.buffer, batch.byteOffset).getUint32(12)),
      attach: (next) => {
        wire = next;
        return () => {
          if (wire === next) wire = undefined;
        };
      },
      onState: (rung) => moves.push(rung),
      onMeasure: (measure) => measures.push(measure),
      clock,
      log: silentLog,
      random: () => 0.5,
    });
    return {
      ladder,
      moves,
      measures,
      heard,
      get wire() {
        return wire;
      },
      get rung() {
        return ladder.state().rung;
      },
      send: (sequence) =>
        wire?.send(
          encodeBatch(
            { type: FRAMES, ttl: 1, source: self, destination: node, lan: LAN, epoch: 1, life: 1, sequence },
            new Uint8Array(60),
          ),
        ) ?? false,
    };
  };

  const a = end(1, true);
  const b = end(2, false);
  const pass = async (ms: number) => {
    await turn();
    for (let left = ms; left > 0; left -= STEP_MS) {
      clock.advance(Math.min(left, STEP_MS));
      await turn();
    }
  };
  return {
    clock,
    a,
    b,
    ways,
    dialled,
    open,
    batches,
    pass,
    async until(what) {
      for (let i = 0; !what(); i++) {
        if (i > 60_000) throw new Error('it never happens');
        await pass(STEP_MS);
      }
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([a.ladder[Symbol.asyncDispose](), b.ladder[Symbol.asyncDispose]()]);
    },
  };
}
