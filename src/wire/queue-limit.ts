/** How much may wait in front of a connection: what it carries away within a moment, by what the last writes took. Pure. */

/** Longer than this nobody has to wait behind others. CoDel (RFC 8289 4.3) tolerates 100 ms before it acts; the kernel's queue comes on top. */
const TARGET_MS = 50;
/** Two reads from a guest: with less, one read that comes while another one waits would be thrown away whole. */
const LEAST_BYTES = 131_072;
/** Of each new measurement: the kernel takes several writes at once and then none for a while, so that one says little. */
const SHARE = 1 / 8;

export interface QueueLimit {
  readonly bytes: number;
  /** A write of so many bytes was with the kernel after so many ms. */
  wrote(bytes: number, ms: number): void;
}

export function createQueueLimit(mostBytes: number): QueueLimit {
  let limit = mostBytes;
  let msPerByte = 0;
  return {
    get bytes() {
      return limit;
    },
    wrote(bytes, ms) {
      // Weighted, or a few bytes that waited behind a full buffer would pass for a slow connection.
      const share = SHARE * Math.min(1, bytes / LEAST_BYTES);
      if (share === 0) return;
      msPerByte += share * (ms / bytes - msPerByte);
      const fits = msPerByte > 0 ? TARGET_MS / msPerByte : mostBytes;
      limit = Math.round(Math.min(mostBytes, Math.max(LEAST_BYTES, fits)));
    },
  };
}
