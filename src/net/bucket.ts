/** How much of what goes to everybody one node may send: a token bucket for broadcast, multicast and unknown destinations. */
import type { Clock } from '../base/clock.ts';

/**
 * Sustained, per source. In a star of 200 the centre sends each byte of a flood 198 times: 64 KiB/s become 104 Mbit/s at worst,
 * and each guest hears at most 512 small frames a second, which one under software emulation still bears.
 */
const BYTES_PER_SECOND = 65_536;

/**
 * What may come at once: an nmap sweep of a /24 with two repetitions (762 ARP requests cost 97,536) together with the ARP, DHCP
 * and mDNS of a guest that boots, and three of the largest frames.
 */
const BURST_BYTES = 262_144;

/** A small frame costs a receiver as much work as one of this length. */
const MIN_COST = 128;

/**
 * Other switches allow twice as much as the one where the guest runs: wires bunch up what left evenly, and an honest node must
 * not lose frames twice.
 */
export const FROM_WIRE_FACTOR = 2;

export interface Bucket {
  /** False: too much. Then nothing is taken. */
  take(cost: number): boolean;
}

/** What one frame of so many bytes takes. */
export const floodCost = (bytes: number): number => Math.max(bytes, MIN_COST);

export function createBucket(clock: Pick<Clock, 'now'>, factor = 1): Bucket {
  const burst = BURST_BYTES * factor;
  let tokens = burst;
  let filled = clock.now();
  return {
    take(cost) {
      const now = clock.now();
      tokens = Math.min(burst, tokens + ((now - filled) * BYTES_PER_SECOND * factor) / 1000);
      filled = now;
      if (tokens < cost) return false;
      tokens -= cost;
      return true;
    },
  };
}
