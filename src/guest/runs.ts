/** Cuts QEMU's stream into runs: as many whole frames as each read brought, where they lie; what is left waits for the next read. */
import { HEADER_BYTES, LENGTH_BYTES, MAX_FRAME_BYTES, MIN_FRAME_BYTES } from '../net/batch.ts';
import { u32At } from '../net/bytes.ts';
import type { RunHandler } from '../net/port.ts';

export interface RunReader {
  /** Where the next bytes of the stream go; never empty. */
  room(): Uint8Array;
  /** So many have arrived there. False when the framing is broken: nothing after this can be trusted. */
  arrived(count: number): boolean;
  /** Frames that were left out, and broken framings. */
  readonly refused: number;
}

/** Ethernet header and one VLAN tag on top of the payload. */
const OVERHEAD = 18;

/**
 * Reads go here one after the other, so that the two parts of a frame that two reads brought lie side by side. It begins anew whenever
 * no part is left, which with small frames is almost always: then the same few pages stay in the processor's cache.
 */
const SLAB_BYTES = 262_144;

/** A read takes up to this much at least: what QEMU has written while we were busy (a socket holds 208 KiB). */
const READ_BYTES = 65_536;

export function createRunReader(mtu: number, onRun: RunHandler): RunReader {
  const longest = Math.min(mtu + OVERHEAD, MAX_FRAME_BYTES);
  const slab = new Uint8Array(SLAB_BYTES);
  // The header of a batch fits in front of each run: what is there has been handed on.
  let start = HEADER_BYTES;
  let filled = HEADER_BYTES;
  let refused = 0;

  const handOn = (from: number, to: number): void => {
    if (to > from) onRun(slab.subarray(from, to), HEADER_BYTES);
  };

  return {
    get refused() {
      return refused;
    },
    room() {
      if (SLAB_BYTES - filled < READ_BYTES) {
        slab.copyWithin(HEADER_BYTES, start, filled);
        filled += HEADER_BYTES - start;
        start = HEADER_BYTES;
      }
      return slab.subarray(filled);
    },
    arrived(count) {
      filled += count;
      let from = start;
      let at = start;
      while (at + LENGTH_BYTES <= filled) {
        const length = u32At(slab, at);
        if (length === 0 || length > MAX_FRAME_BYTES) {
          handOn(from, at);
          refused++;
          start = filled = HEADER_BYTES;
          return false;
        }
        const end = at + LENGTH_BYTES + length;
        if (end > filled) break;
        if (length < MIN_FRAME_BYTES || length > longest) {
          handOn(from, at);
          refused++;
          from = end;
        }
        at = end;
      }
      handOn(from, at);
      start = at;
      if (start === filled) start = filled = HEADER_BYTES;
      return true;
    },
  };
}
