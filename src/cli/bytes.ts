/** Numbers of bytes for people. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `812 B`, `1.5 KiB`, `20 MiB`: two digits at least, one unit. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 1023.5 would be shown as 1024 of the smaller unit.
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit > 0 && value < 9.95 ? value.toFixed(1) : value.toFixed(0)} ${UNITS[unit]}`;
}
