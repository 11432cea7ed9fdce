/** One link of this peer: its ladder, what shapes and watches what it carries, and its line in a report. */
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { destinationOf, EVERY_WIRE_BYTES } from '../net/batch.ts';
import { createCostMeter } from '../net/cost.ts';
import { createShaper } from '../net/shaper.ts';
import { createTap, tapBatches, tapWire, type Tap } from '../net/tap.ts';
import type { Batch, BatchHandler, Wire } from '../net/wire.ts';
import type { LinkReport, LinkRung, LinkShape } from '../protocol/messages.ts';
import { keepLadder } from '../wire/ladder.ts';

/** Opens one wire to a peer. `offer` is true at exactly one of both ends. */
export interface WireRequest {
  readonly rung: LinkRung;
  readonly peer: string;
  /** Names the link in signals, the same at both ends. */
  readonly channel: string;
  /** Number of the LAN. */
  readonly lan: number;
  readonly offer: boolean;
  readonly onBatch: BatchHandler;
  readonly signal: AbortSignal;
}

/** What a link is told while it lives. Not said: as it is; null: as the plan has it, and nothing shaped. */
export interface LinkSettings {
  readonly wires?: readonly LinkRung[] | null;
  readonly shape?: LinkShape | null;
}

/** What routing hears of a link; undefined: it carries nothing. */
export interface LinkQuality {
  /** Tenths of a millisecond. */
  readonly cost: number;
  readonly maxBatch: number;
}

export interface LinkOptions {
  readonly job: string;
  readonly lan: number;
  readonly self: number;
  readonly node: number;
  /** Full JID of the other end. */
  readonly peer: string;
  readonly wires: readonly LinkRung[];
  readonly openWire: (request: WireRequest) => Promise<Wire>;
  /** The wire to send on; the returned function takes it away. */
  readonly attach: (wire: Wire) => () => void;
  readonly onBatch: (batch: Batch) => void;
  readonly onQuality: (quality: LinkQuality | undefined) => void;
  /** It is on another rung. */
  readonly onChange: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Link extends AsyncDisposable {
  readonly peer: string;
  /** What goes past here is what travels: below the shaper. */
  readonly tap: Tap;
  set(settings: LinkSettings): void;
  /** Reasons are cut to so many characters. */
  report(reasonLength: number): LinkReport;
}

export function openLink(options: LinkOptions): Link {
  const { job, lan, self, node, peer, wires, clock, onQuality } = options;
  const [low, high] = self < node ? [self, node] : [node, self];
  const name = `link:${job}:${low}-${high}`;
  // A batch that travels further may have to take a smaller wire there: a duplicate frame must not make it too large for that.
  const shaper = createShaper({
    clock,
    limit: (batch) => (destinationOf(batch) === node ? Infinity : EVERY_WIRE_BYTES),
  });
  const tap = createTap();
  const meter = createCostMeter(clock);
  let maxBatch = 0;
  let told = 0;

  const tell = () => {
    if (meter.cost === undefined) return;
    told = maxBatch;
    onQuality({ cost: meter.cost, maxBatch });
  };

  const ladder = keepLadder({
    self,
    node,
    lan,
    rungs: wires,
    offer: self === low,
    open: (rung, signal, onBatch) =>
      options.openWire({ rung, peer, channel: `${name}:${rung}`, lan, offer: self === low, onBatch, signal }),
    onBatch: tapBatches(tap, options.onBatch),
    attach: (wire) => {
      maxBatch = wire.maxBatch;
      return options.attach(shaper.wrap(tapWire(tap, wire)));
    },
    onState: (rung) => {
      if (rung === 'down') {
        meter.reset();
        told = 0;
        onQuality(undefined);
      }
      options.onChange();
    },
    onMeasure: (measure) => {
      if (meter.sample(measure) || maxBatch !== told) tell();
    },
    clock,
    log: options.log.child({ link: `${low}-${high}` }),
  });

  return {
    peer,
    tap,
    set(settings) {
      if (settings.wires !== undefined) ladder.allow(settings.wires ?? wires);
      if (settings.shape !== undefined) shaper.set(settings.shape ?? undefined);
    },
    report(reasonLength) {
      const { rung, reasons, roundTripMs, loss, sentBytes, receivedBytes, drops, ...rest } = ladder.state();
      return {
        from: self,
        to: node,
        wire: rung,
        reasons: Object.fromEntries(Object.entries(reasons).map(([each, why]) => [each, why.slice(0, reasonLength)])),
        ...(roundTripMs === undefined ? {} : { roundTripMs: rounded(roundTripMs) }),
        loss: rounded(loss),
        sentBytes,
        receivedBytes,
        sentPerSecond: rest.sentPerSecond,
        receivedPerSecond: rest.receivedPerSecond,
        drops,
        seconds: rest.seconds,
      };
    },
    async [Symbol.asyncDispose]() {
      shaper[Symbol.dispose]();
      await ladder[Symbol.asyncDispose]();
    },
  };
}

const rounded = (value: number) => Math.round(value * 100) / 100;
