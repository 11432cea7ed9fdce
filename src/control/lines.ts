/** The wire format of the local API, for both ends: one JSON object per line, with a bound on the line. */

const NEWLINE = 0x0a;

/** JSON escapes newlines inside strings, so a line ends where the object ends. */
export const encodeLine = (message: object): Buffer => Buffer.from(`${JSON.stringify(message)}\n`);

/**
 * Cuts a byte stream into lines. The returned function gives false when a line is longer than the bound; the reader is
 * of no use then. A line that never ends costs no more than the bound.
 */
export function lineReader(maxBytes: number, onLine: (line: string) => void): (chunk: Buffer) => boolean {
  let parts: Buffer[] = [];
  let bytes = 0;
  const add = (part: Buffer): boolean => {
    bytes += part.length;
    if (bytes <= maxBytes) parts.push(part);
    else parts = [];
    return bytes <= maxBytes;
  };
  return (chunk) => {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      if (!add(chunk.subarray(start, end))) return false;
      const line = Buffer.concat(parts).toString('utf8');
      parts = [];
      bytes = 0;
      start = end + 1;
      onLine(line);
    }
    return add(chunk.subarray(start));
  };
}
