/** JSON that survives every carrier: printable ASCII only. */

/**
 * JSON with everything outside printable ASCII as `\uXXXX`: XML forbids control characters and U+FFFE, which JSON.stringify lets
 * through, and one such character ends the whole stream (measured: `not-well-formed`).
 */
export function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[^\x20-\x7e]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
