/** Cuts a byte stream into lines with a bound on their length, so that nobody who never ends a line costs us memory. */

export interface LineReader {
  /** False when a line grew beyond the bound; the reader is empty again then. */
  push(chunk: Buffer): boolean;
  clear(): void;
}

const NEWLINE = 0x0a;

/**
 * `marker`, if given, is a byte that no line contains: whatever precedes it is thrown away (guest agent: 0xFF resets a
 * confused stream, QEMU docs/interop/qemu-ga-ref, guest-sync-delimited).
 */
export function createLineReader(maxBytes: number, onLine: (line: string) => void, marker?: number): LineReader {
  let parts: Buffer[] = [];
  let bytes = 0;
  const clear = (): void => {
    parts = [];
    bytes = 0;
  };
  const take = (part: Buffer): void => {
    parts.push(part);
    const line = Buffer.concat(parts).toString('utf8').trim();
    clear();
    if (line) onLine(line);
  };
  return {
    clear,
    push(chunk) {
      let rest = chunk;
      const reset = marker === undefined ? -1 : chunk.lastIndexOf(marker);
      if (reset >= 0) {
        clear();
        rest = chunk.subarray(reset + 1);
      }
      for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
        if (bytes + end > maxBytes) {
          clear();
          return false;
        }
        take(rest.subarray(0, end));
        rest = rest.subarray(end + 1);
      }
      if (rest.length > 0) parts.push(rest);
      bytes += rest.length;
      if (bytes <= maxBytes) return true;
      clear();
      return false;
    },
  };
}
