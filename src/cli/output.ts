/** What goes to our own stdout and stderr: bytes exactly as they are and no faster than they are read, text cleaned. */
import type { Writable } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';

/** Resolves when the stream has taken the bytes. A reader that has gone is main.ts's business. */
export function writeBytes(stream: Writable, bytes: Uint8Array): Promise<void> {
  if (bytes.length === 0) return Promise.resolve();
  return new Promise((resolve) => stream.write(bytes, () => resolve()));
}

/** Resolves when all that was written is out, or never will be. */
export const flushed = (stream: Writable): Promise<void> => new Promise((resolve) => stream.write('', () => resolve()));

/** One line of what comes from other people's machines (names, reasons, errors): none of it may steer our terminal. */
export const printable = (text: string): string =>
  stripVTControlCharacters(text)
    .replaceAll(/[\t\n\r]+/g, ' ')
    .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '?');
