/** Loss, duplication and corruption of the single frames of a batch: a new batch of the same header, or none. Pure. */
import { HEADER_BYTES, LENGTH_BYTES, MIN_FRAME_BYTES, nextFrame } from './batch.ts';
import type { Shape } from './shape.ts';
import type { Batch } from './wire.ts';

export interface Impairment {
  /** What the queue has left. */
  readonly room: { readonly frames: number; readonly bytes: number };
  /** Bytes of the largest batch that may come out. */
  readonly max: number;
  readonly random: () => number;
  readonly counts: { lost: number; duplicated: number; corrupted: number; overLimit: number; unfit: number };
}

export interface Impaired {
  /** Of its own memory. */
  readonly batch: Batch;
  readonly frames: number;
  /** Of frames alone, which is what a rate counts. */
  readonly bytes: number;
}

/**
 * A frame's fate is netem's: duplicated first, then lost, so that one that is both arrives once. The duplicate stands behind its
 * frame in the same batch, or there is none when it does not fit. Corruption flips one bit behind the Ethernet header; where that
 * makes a frame forge an address, the guards of the receiving peer drop it with its batch, as they would a liar's.
 * Frames for which the queue has no room are dropped from the end of the batch. A run that is not whole frames (of another peer:
 * its last hop will refuse it) counts as one frame and stays as it is.
 */
export function impair(batch: Batch, shape: Shape, how: Impairment): Impaired | undefined {
  const { loss = 0, duplicate = 0, corrupt = 0 } = shape;
  const { room, max, random, counts } = how;
  const total = countFrames(batch);
  const whole = total > 0;
  const frames = whole ? total : 1;
  const fits = frames <= room.frames && batch.length <= room.bytes;
  if (!whole || (fits && loss === 0 && duplicate === 0 && corrupt === 0)) {
    if (fits)
      return { batch: new Uint8Array(batch), frames, bytes: batch.length - HEADER_BYTES - total * LENGTH_BYTES };
    counts.overLimit += frames;
    return undefined;
  }
  const out = new Uint8Array(duplicate > 0 ? Math.max(batch.length, Math.min(max, 2 * batch.length)) : batch.length);
  out.set(batch.subarray(0, HEADER_BYTES));
  let into = HEADER_BYTES;
  let kept = 0;

  const take = (start: number, end: number): void => {
    if (kept >= room.frames || into + end - start > room.bytes) {
      counts.overLimit++;
      return;
    }
    out.set(batch.subarray(start, end), into);
    const payload = end - start - LENGTH_BYTES - MIN_FRAME_BYTES;
    if (corrupt > 0 && payload > 0 && random() < corrupt) {
      const bit = Math.floor(random() * payload * 8);
      out[into + LENGTH_BYTES + MIN_FRAME_BYTES + (bit >>> 3)]! ^= 1 << (bit & 7);
      counts.corrupted++;
    }
    into += end - start;
    kept++;
  };

  for (let at = HEADER_BYTES, end = nextFrame(batch, at); end !== 0; at = end, end = nextFrame(batch, at)) {
    const twice = duplicate > 0 && random() < duplicate;
    const lost = loss > 0 && random() < loss;
    if (lost) counts.lost++;
    if (!lost || twice) take(at, end);
    if (lost || !twice) continue;
    // The frames behind it come first: they must still fit.
    if (into + batch.length - at > max || kept >= room.frames || into + end - at > room.bytes) counts.unfit++;
    else {
      take(at, end);
      counts.duplicated++;
    }
  }
  if (kept === 0) return undefined;
  return { batch: out.subarray(0, into), frames: kept, bytes: into - HEADER_BYTES - kept * LENGTH_BYTES };
}

/** 0 when the batch holds anything but whole frames. */
function countFrames(batch: Batch): number {
  let count = 0;
  let at = HEADER_BYTES;
  for (let end = nextFrame(batch, at); end !== 0; at = end, end = nextFrame(batch, at)) count++;
  return at === batch.length ? count : 0;
}
