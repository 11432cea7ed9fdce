/** Ethernet frames and batches for tests. */
import { encodeRun } from '../../src/net/batch.ts';

/** The MAC address that a node's guest has in tests. */
export const macOf = (node: number): string => `02:6b:00:00:${hex(node >> 8)}:${hex(node & 0xff)}`;
export const addressOf = (node: number): string => `10.77.${node >> 8}.${node & 0xff}`;
export const BROADCAST = 'ff:ff:ff:ff:ff:ff';
/** All nodes of IPv6 neighbour discovery (RFC 2464, 7). */
export const IPV6_ALL_NODES = '33:33:00:00:00:01';

const hex = (byte: number) => byte.toString(16).padStart(2, '0');

/** A frame whose payload is `text`, padded with zeros to `length` bytes. */
export function frame(options: {
  readonly to: string;
  readonly from: string;
  readonly text?: string;
  readonly length?: number;
}): Uint8Array {
  const { to, from, text = '', length = 60 } = options;
  const bytes = new Uint8Array(length);
  bytes.set(Buffer.from((to + from).replaceAll(':', ''), 'hex'));
  bytes.set([0x88, 0xb5], 12); // local experimental ethertype (IEEE 802)
  bytes.set(Buffer.from(text), 14);
  return bytes;
}

/** The text that `frame` put into it. */
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(14)).toString().replace(/\0+$/, '');

export const runOfFrames = (...list: Uint8Array[]): Uint8Array => encodeRun(list);
