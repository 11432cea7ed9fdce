/** Cuts QEMU's stream into runs: as many whole frames as each read holds, uncopied; a frame split by two reads is put together. */
import type { RunHandler } from '../net/port.ts';

export interface RunCutter {
  /** False when the framing is broken: nothing after this can be trusted, the connection must be made anew. */
  push(chunk: Uint8Array): boolean;
  /** Frames that were left out, and broken framings. */
  readonly refused: number;
}

const HEADER = 4;
/** Destination, source, type (IEEE 802.3, 3.1.1). */
const SHORTEST_FRAME = 14;
/** Ethernet header and one VLAN tag on top of the payload. */
const OVERHEAD = 18;
/** NET_BUFSIZE of QEMU 7.2 (4096 + 65536): longer frames it never sends, and closes the socket on those it gets. */
export const LONGEST_FRAME = 69_632;

export function createRunCutter(mtu: number, onRun: RunHandler): RunCutter {
  const longest = Math.min(mtu + OVERHEAD, LONGEST_FRAME);
  const half = new Uint8Array(HEADER + LONGEST_FRAME);
  let have = 0;
  let refused = 0;

  const broken = (): false => {
    refused++;
    have = 0;
    return false;
  };
  const acceptable = (length: number): boolean => length >= SHORTEST_FRAME && length <= longest;

  /** Completes the half frame from the chunk; the number of bytes taken, or undefined when the framing is broken. */
  function complete(chunk: Uint8Array): number | undefined {
    let at = 0;
    const fill = (until: number): boolean => {
      const part = chunk.subarray(at, at + Math.max(0, until - have));
      half.set(part, have);
      have += part.length;
      at += part.length;
      return have >= until;
    };
    if (!fill(HEADER)) return at;
    const length = lengthAt(half, 0);
    if (length === 0 || length > LONGEST_FRAME) return undefined;
    if (!fill(HEADER + length)) return at;
    have = 0;
    if (acceptable(length)) onRun(half.subarray(0, HEADER + length));
    else refused++;
    return at;
  }

  return {
    get refused() {
      return refused;
    },
    push(chunk) {
      let start = 0;
      if (have > 0) {
        const taken = complete(chunk);
        if (taken === undefined) return broken();
        if (have > 0) return true; // still not whole, and the chunk is used up
        start = taken;
      }
      let at = start;
      const flush = (): void => {
        if (at > start) onRun(chunk.subarray(start, at));
      };
      while (at + HEADER <= chunk.length) {
        const length = lengthAt(chunk, at);
        if (length === 0 || length > LONGEST_FRAME) {
          flush();
          return broken();
        }
        const end = at + HEADER + length;
        if (end > chunk.length) break;
        if (!acceptable(length)) {
          refused++;
          flush();
          start = end;
        }
        at = end;
      }
      flush();
      half.set(chunk.subarray(at), 0);
      have = chunk.length - at;
      return true;
    },
  };
}

function lengthAt(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset + at, HEADER).getUint32(0);
}
