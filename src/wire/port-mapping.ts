/** Asking a router for an open TCP port, as bytes, pure: PCP (RFC 6887) and its older kin NAT-PMP (RFC 6886). */
import type { Endpoint } from './addresses.ts';

/** Both speak to this UDP port of the router. */
export const MAPPING_PORT = 5351;
/** RFC 6887 7: no message is longer. */
const MAX_BYTES = 1100;
/** RFC 6887 11.1: against answers of others. */
export const NONCE_BYTES = 12;

const TCP = 6;
const PCP = { version: 2, map: 1, bytes: 60 } as const;
const PMP = { version: 0, address: 0, mapTcp: 2, addressBytes: 12, bytes: 16 } as const;
/** Set in the opcode of an answer. */
const ANSWER = 0x80;
/** RFC 6887 7.4, RFC 6886 3.5. */
const UNSUPPORTED_VERSION = 1;

export interface MappingRequest {
  readonly nonce: Uint8Array;
  /** Our own IPv4 address, as the router sees it. */
  readonly client: string;
  readonly port: number;
  /** 0: close it again. */
  readonly seconds: number;
}

/** What an answer says: where we are reached and for how long, or that the router speaks the older tongue alone, or why not. */
export type Mapping =
  | { readonly kind: 'mapped'; readonly endpoint: Endpoint; readonly seconds: number }
  | { readonly kind: 'older' }
  | { readonly kind: 'refused'; readonly code: number };

export function encodePcp({ nonce, client, port, seconds }: MappingRequest): Buffer {
  const message = Buffer.alloc(PCP.bytes);
  message[0] = PCP.version;
  message[1] = PCP.map;
  message.writeUInt32BE(seconds, 4);
  mapped(client).copy(message, 8);
  message.set(nonce, 24);
  message[36] = TCP;
  message.writeUInt16BE(port, 40);
  message.writeUInt16BE(port, 42); // the same outside, if it is free
  mapped('0.0.0.0').copy(message, 44);
  return message;
}

/** The answer to this very request; undefined for anything else. */
export function decodePcp(message: Buffer, { nonce, port }: MappingRequest): Mapping | undefined {
  if (message.length < 4 || message.length > MAX_BYTES) return undefined;
  // A router that knows only NAT-PMP answers in NAT-PMP that it does not know this version (RFC 6887 9).
  if (message[0] === PMP.version) {
    const olderOnly = (message[1]! & ANSWER) !== 0 && message.readUInt16BE(2) === UNSUPPORTED_VERSION;
    return olderOnly ? { kind: 'older' } : undefined;
  }
  if (message[0] !== PCP.version || message[1] !== (PCP.map | ANSWER) || message.length < PCP.bytes) return undefined;
  if (!message.subarray(24, 24 + NONCE_BYTES).equals(nonce)) return undefined;
  if (message[36] !== TCP || message.readUInt16BE(40) !== port) return undefined;
  const code = message[3]!;
  if (code !== 0) return { kind: 'refused', code };
  const host = unmapped(message.subarray(44, 60));
  if (host === undefined) return undefined;
  return {
    kind: 'mapped',
    endpoint: { host, port: message.readUInt16BE(42) },
    seconds: message.readUInt32BE(4),
  };
}

/** NAT-PMP takes two questions: which address has the router, and which port does it lend. */
export function encodePmp({ port, seconds }: MappingRequest): { readonly address: Buffer; readonly map: Buffer } {
  const map = Buffer.alloc(12);
  map[0] = PMP.version;
  map[1] = PMP.mapTcp;
  map.writeUInt16BE(port, 4);
  map.writeUInt16BE(seconds === 0 ? 0 : port, 6); // RFC 6886 3.4: closing names no port outside
  map.writeUInt32BE(seconds, 8);
  return { address: Buffer.from([PMP.version, PMP.address]), map };
}

export function decodePmpAddress(message: Buffer): string | { readonly code: number } | undefined {
  if (message.length < 4 || message.length > MAX_BYTES) return undefined;
  if (message[0] !== PMP.version || message[1] !== (PMP.address | ANSWER)) return undefined;
  const code = message.readUInt16BE(2);
  if (code !== 0) return { code };
  return message.length < PMP.addressBytes ? undefined : [...message.subarray(8, 12)].join('.');
}

export function decodePmpPort(
  message: Buffer,
  { port }: MappingRequest,
): { readonly port: number; readonly seconds: number } | { readonly code: number } | undefined {
  if (message.length < 4 || message.length > MAX_BYTES) return undefined;
  if (message[0] !== PMP.version || message[1] !== (PMP.mapTcp | ANSWER)) return undefined;
  const code = message.readUInt16BE(2);
  if (code !== 0) return { code };
  if (message.length < PMP.bytes || message.readUInt16BE(8) !== port) return undefined;
  return { port: message.readUInt16BE(10), seconds: message.readUInt32BE(12) };
}

/** The router on the way to everywhere, from Linux's `/proc/net/route`; undefined if there is none. */
export function defaultGateway(routes: string): string | undefined {
  for (const line of routes.split('\n').slice(1)) {
    const [, destination, gateway, flags] = line.trim().split(/\s+/);
    // RTF_UP and RTF_GATEWAY (linux/route.h); the numbers are in the byte order of the host.
    if (destination !== '00000000' || !gateway || (Number.parseInt(flags ?? '0', 16) & 3) !== 3) continue;
    if (/^[0-9A-F]{8}$/.test(gateway)) return [...Buffer.from(gateway, 'hex')].toReversed().join('.');
  }
  return undefined;
}

/** RFC 6887 5: IPv4 as `::ffff:a.b.c.d`. */
function mapped(host: string): Buffer {
  return Buffer.from([...Buffer.alloc(10), 0xff, 0xff, ...host.split('.').map(Number)]);
}

function unmapped(address: Uint8Array): string | undefined {
  const isMapped = address[10] === 0xff && address[11] === 0xff && address.subarray(0, 10).every((byte) => byte === 0);
  return isMapped ? [...address.subarray(12)].join('.') : undefined;
}
