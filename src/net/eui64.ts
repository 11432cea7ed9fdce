/** IPv6 addresses that are made from MAC addresses (RFC 4291, appendix A): whose they are can be read from them. */
import { u16At, u32At } from './bytes.ts';
import type { MacNumber } from './directory.ts';

export const NO_MAC = -1;

/** The MAC address in the last 8 bytes of an IPv6 address, which begin at `at`; NO_MAC where there is none. */
export function interfaceMac(bytes: Uint8Array, at: number): MacNumber {
  if (bytes[at + 3] !== 0xff || bytes[at + 4] !== 0xfe) return NO_MAC;
  const high = ((bytes[at]! ^ 0x02) << 8) | bytes[at + 1]!;
  return high * 0x1_0000_0000 + bytes[at + 2]! * 0x100_0000 + ((bytes[at + 5]! << 16) | u16At(bytes, at + 6));
}

/** The same, if the 16 bytes at `at` are a link-local address (fe80::/64). */
export const linkLocalMac = (bytes: Uint8Array, at: number): MacNumber =>
  u32At(bytes, at) === 0xfe80_0000 && u32At(bytes, at + 4) === 0 ? interfaceMac(bytes, at + 8) : NO_MAC;
