/** What a link costs: from its wire, its round trip and its losses, and when a change of that is worth telling. Pure. */
import type { Clock } from '../base/clock.ts';
import type { Rung } from './wire.ts';

/** What a wire of this rung carries as a rule, Mbit/s. By kind and never by load: routes that flee from load oscillate. */
const CAPACITY_MBIT: Readonly<Record<Rung, number>> = { memory: 10_000, direct: 1000, webrtc: 200, stanza: 0.05 };

/** A path through a fast peer must save this many milliseconds: a hop is two more sockets and somebody else's computer. */
const HOP_MS = 3;

/** Milliseconds for a link of 1 Mbit/s, about what a batch of 64 KiB spends on it four times. */
const MS_PER_MBIT = 2000;

/** A loss of 2 % doubles the cost: TCP over it is slower than over a path twice as long. */
const LOSS_WEIGHT = 50;

/** Costs are told in tenths of a millisecond, as u16. */
const PER_MS = 10;
export const MAX_COST = 0xffff;

/** A measurement ten seconds old weighs 1/e. */
const SETTLE_MS = 10_000;

/** Routes that follow each little change flap. A quarter more or less for five seconds is told; twice as much at once. */
const CHANGE = 0.25;
const HOLD_MS = 5000;
const AT_ONCE = 2;

export interface LinkSample {
  readonly rung: Rung;
  readonly roundTripMs: number;
  /** Share of hellos without an answer, 0 to 1. */
  readonly loss: number;
}

/** Tenths of a millisecond, 1 to 65,535; both ends of a link come to about the same. */
export function linkCost({ rung, roundTripMs, loss }: LinkSample): number {
  const ms = (roundTripMs + MS_PER_MBIT / CAPACITY_MBIT[rung] + HOP_MS) * (1 + LOSS_WEIGHT * loss);
  return Math.round(Math.min(Math.max(ms * PER_MS, 1), MAX_COST));
}

export interface CostMeter {
  /** What we tell others; undefined before the first sample. */
  readonly cost: number | undefined;
  /** The smoothed measurement, for the eyes of users. */
  readonly roundTripMs: number | undefined;
  readonly loss: number | undefined;
  /** One answered or lost hello, or a new wire. True: `cost` changed and is to be told. */
  sample(sample: LinkSample): boolean;
  /** The link is down: nothing of what was measured holds for the next wire. */
  reset(): void;
}

/**
 * Smooths what is measured and holds back what is not worth telling. Another rung is another wire, so it is told at once and
 * measured afresh.
 */
export function createCostMeter(clock: Pick<Clock, 'now'>): CostMeter {
  let smooth: LinkSample | undefined;
  let sampledAt = 0;
  let cost: number | undefined;
  /** Since when the measured cost has been away from the told one. */
  let awaySince: number | undefined;

  function tell(measured: number): boolean {
    awaySince = undefined;
    const changed = cost !== measured;
    cost = measured;
    return changed;
  }

  return {
    get cost() {
      return cost;
    },
    get roundTripMs() {
      return smooth?.roundTripMs;
    },
    get loss() {
      return smooth?.loss;
    },
    sample(sample) {
      const now = clock.now();
      const fresh = smooth?.rung !== sample.rung;
      smooth = fresh || !smooth ? sample : blend(smooth, sample, 1 - Math.exp((sampledAt - now) / SETTLE_MS));
      sampledAt = now;
      const measured = linkCost(smooth);
      if (fresh || cost === undefined) return tell(measured);
      const ratio = measured / cost;
      if (ratio >= AT_ONCE || ratio <= 1 / AT_ONCE) return tell(measured);
      if (Math.abs(ratio - 1) < CHANGE) {
        awaySince = undefined;
        return false;
      }
      awaySince ??= now;
      return now - awaySince >= HOLD_MS && tell(measured);
    },
    reset() {
      smooth = undefined;
      cost = undefined;
      awaySince = undefined;
    },
  };
}

/** Exponentially weighted; samples may come at any interval (hellos are 0.5 or 5 s apart). */
function blend(old: LinkSample, sample: LinkSample, weight: number): LinkSample {
  const mix = (a: number, b: number) => a + (b - a) * weight;
  return {
    rung: sample.rung,
    roundTripMs: mix(old.roundTripMs, sample.roundTripMs),
    loss: mix(old.loss, sample.loss),
  };
}
