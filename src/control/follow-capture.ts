/** A capture as the bytes of a pcapng file: header, packets as they come, statistics at the end. */
import { setTimeout } from 'node:timers/promises';
import { orAborted } from '../base/abort.ts';
import { packetEnds, interfaceDescription, interfaceStatistics, sectionHeader } from '../net/pcapng.ts';
import type { CaptureHandle, CaptureTarget, PeerApi } from './api.ts';

type CaptureApi = Pick<PeerApi, 'captureOpen' | 'captureRead' | 'captureClose'>;

export interface CaptureOptions {
  readonly target: CaptureTarget;
  readonly snapLength: number;
  /** Ends after so many frames. */
  readonly count?: number;
  readonly application: string;
  /** Ends it, too, with a whole file. */
  readonly signal: AbortSignal;
}

export interface CapturePiece {
  readonly bytes: Uint8Array;
  /** In the file with this piece, and frames that were left out because reading was too slow. */
  readonly frames: number;
  readonly dropped: number;
}

/** Nobody waits long for a peer that is to forget a capture: it does so by itself. */
const CLOSE_MS = 2000;

/** The capture runs at the far end from the first piece on. What comes of it is checked: it may be another peer's. */
export async function* followCapture(api: CaptureApi, options: CaptureOptions): AsyncGenerator<CapturePiece> {
  const { target, snapLength, count = Number.POSITIVE_INFINITY, application, signal } = options;
  const handle = await api.captureOpen({ target, snapLength });
  let frames = 0;
  let received = 0;
  let dropped = 0;
  let failure: unknown;
  const nowUs = () => Math.round((performance.timeOrigin + performance.now()) * 1000);
  const statistics = () => interfaceStatistics({ timeUs: nowUs(), received, dropped });
  try {
    const about = { ...naming(target, handle), snapLength };
    yield { bytes: Buffer.concat([sectionHeader({ application }), interfaceDescription(about)]), frames, dropped };
    try {
      while (frames < count && !signal.aborted) {
        const reading = api.captureRead(handle);
        reading.catch(() => {}); // when the abort is first
        // Not a race with one promise for all pages: it would hold each of them until the end.
        const page = await orAborted(reading, signal);
        ({ received, dropped } = page);
        const blocks = Buffer.from(page.data, 'base64');
        const ends = packetEnds(blocks, snapLength).slice(0, count - frames);
        frames += ends.length;
        if (ends.length > 0) yield { bytes: blocks.subarray(0, ends.at(-1)), frames, dropped };
      }
    } catch (error) {
      if (!signal.aborted) failure = error;
    }
    yield { bytes: statistics(), frames, dropped };
    if (failure !== undefined) throw failure; // the guest has gone, and the file is whole all the same
  } finally {
    const closing = api.captureClose(handle).catch(() => {}); // it may have ended by itself
    await Promise.race([closing, setTimeout(CLOSE_MS, undefined, { ref: false })]);
  }
}

function naming(
  target: CaptureTarget,
  { guest }: CaptureHandle,
): { readonly name: string; readonly description: string } {
  if ('guest' in target) return { name: target.guest, description: `guest ${target.guest}` };
  const name = target.link.join(' - ');
  return { name, description: `link ${name}, seen at ${guest}` };
}
