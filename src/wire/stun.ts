/** STUN and TURN messages (RFC 8489, RFC 8656) as bytes, pure: what a doctor asks a server, and what an answer says, hostile or not. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

export interface IceServer {
  readonly kind: 'stun' | 'turn';
  readonly host: string;
  readonly port: number;
  /** libjuice, below the data channels, speaks UDP alone. */
  readonly transport: 'udp' | 'tcp' | 'tls';
  readonly username?: string;
  readonly password?: string;
}

/** The long-term credential of RFC 8489 9.2, after the server has said realm and nonce. */
export interface Credential {
  readonly username: string;
  readonly password: string;
  readonly realm: string;
  readonly nonce: Uint8Array;
}

export interface StunAnswer {
  readonly success: boolean;
  /** How the server sees us: `192.0.2.1:4000`. */
  readonly mapped?: string;
  /** Address that a TURN server lends us. */
  readonly relayed?: string;
  readonly error?: { readonly code: number; readonly reason: string };
  readonly realm?: string;
  readonly nonce?: Uint8Array;
}

/** Methods with the class bits of a request (RFC 8489 5, RFC 8656 17). */
const METHOD = { binding: 0x0001, allocate: 0x0003, refresh: 0x0004 } as const;
export type Method = keyof typeof METHOD;

const SUCCESS = 0x0100;
const ERROR = 0x0110;
const COOKIE = 0x2112a442;
const HEADER_BYTES = 20;
export const TRANSACTION_BYTES = 12;
/** The largest answer that is read: no server of ours says more than a few hundred bytes, and UDP over Ethernet carries 1472. */
const MAX_ANSWER_BYTES = 2048;
/** RFC 8489 14: realm and reason have at most 127 characters of up to 4 bytes, nonce too. */
const MAX_TEXT_BYTES = 763;

const ATTRIBUTE = {
  username: 0x0006,
  integrity: 0x0008,
  error: 0x0009,
  lifetime: 0x000d,
  realm: 0x0014,
  nonce: 0x0015,
  relayed: 0x0016,
  transport: 0x0019,
  mapped: 0x0020,
} as const;

/** One request. An allocation asks for UDP; a refresh gives the allocation back. */
export function encodeRequest(method: Method, transaction: Uint8Array, credential?: Credential): Buffer {
  const parts: Buffer[] = [];
  if (method === 'allocate') parts.push(attribute(ATTRIBUTE.transport, Buffer.from([17, 0, 0, 0]))); // protocol number of UDP
  if (method === 'refresh') parts.push(attribute(ATTRIBUTE.lifetime, Buffer.alloc(4)));
  if (!credential) return Buffer.concat([header(METHOD[method], sizeOf(parts), transaction), ...parts]);
  parts.push(
    attribute(ATTRIBUTE.username, Buffer.from(credential.username)),
    attribute(ATTRIBUTE.nonce, Buffer.from(credential.nonce)),
    attribute(ATTRIBUTE.realm, Buffer.from(credential.realm)),
  );
  // The length in the signed header counts the signature itself (RFC 8489 14.5).
  const signed = Buffer.concat([header(METHOD[method], sizeOf(parts) + 24, transaction), ...parts]);
  return Buffer.concat([signed, attribute(ATTRIBUTE.integrity, sign(signed, credential))]);
}

/**
 * The answer to this very request, or undefined for anything else: another transaction, another method, not STUN, cut off.
 * With a credential a success counts only if the server has proven that it knows it, too.
 */
export function decodeAnswer(
  bytes: Uint8Array,
  expected: { readonly method: Method; readonly transaction: Uint8Array; readonly credential?: Credential },
): StunAnswer | undefined {
  const message = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (message.length < HEADER_BYTES || message.length > MAX_ANSWER_BYTES) return undefined;
  const type = message.readUInt16BE(0);
  const success = type === (METHOD[expected.method] | SUCCESS);
  if (!success && type !== (METHOD[expected.method] | ERROR)) return undefined;
  if (message.readUInt16BE(2) !== message.length - HEADER_BYTES || message.length % 4 !== 0) return undefined;
  if (message.readUInt32BE(4) !== COOKIE) return undefined;
  const transaction = message.subarray(8, HEADER_BYTES);
  if (!transaction.equals(expected.transaction)) return undefined;
  const found = readAttributes(message);
  if (!found) return undefined;
  if (success && expected.credential && !isSigned(message, found.integrityAt, expected.credential)) return undefined;
  const { values } = found;
  const error = readError(values.get(ATTRIBUTE.error));
  if (!success && !error) return undefined;
  const mapped = readAddress(values.get(ATTRIBUTE.mapped), transaction);
  const relayed = readAddress(values.get(ATTRIBUTE.relayed), transaction);
  const realm = values.get(ATTRIBUTE.realm);
  const nonce = values.get(ATTRIBUTE.nonce);
  return {
    success,
    ...(mapped ? { mapped } : {}),
    ...(relayed ? { relayed } : {}),
    ...(error ? { error } : {}),
    ...(realm && realm.length <= MAX_TEXT_BYTES ? { realm: realm.toString('utf8') } : {}),
    ...(nonce && nonce.length <= MAX_TEXT_BYTES ? { nonce } : {}),
  };
}

function header(type: number, length: number, transaction: Uint8Array): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16BE(type, 0);
  bytes.writeUInt16BE(length, 2);
  bytes.writeUInt32BE(COOKIE, 4);
  return Buffer.concat([bytes, transaction]);
}

function attribute(type: number, value: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(value.length, 2);
  return Buffer.concat([head, value, Buffer.alloc(padding(value.length))]);
}

const padding = (length: number) => (4 - (length % 4)) % 4;
const sizeOf = (parts: readonly Buffer[]) => parts.reduce((sum, part) => sum + part.length, 0);

/** The first of each kind counts (RFC 8489 14); what follows the signature does not, for it is not signed. Undefined: cut off. */
function readAttributes(message: Buffer): { values: Map<number, Buffer>; integrityAt: number | undefined } | undefined {
  const values = new Map<number, Buffer>();
  let integrityAt: number | undefined;
  for (let at = HEADER_BYTES; at < message.length;) {
    if (at + 4 > message.length) return undefined;
    const type = message.readUInt16BE(at);
    const length = message.readUInt16BE(at + 2);
    const end = at + 4 + length;
    if (end + padding(length) > message.length) return undefined;
    if (integrityAt === undefined && !values.has(type)) values.set(type, message.subarray(at + 4, end));
    if (type === ATTRIBUTE.integrity) integrityAt ??= at;
    at = end + padding(length);
  }
  return { values, integrityAt };
}

function sign(signed: Uint8Array, { username, realm, password }: Credential): Buffer {
  // MD5 and SHA-1 are the protocol's, not our choice (RFC 8489 9.2.2): servers in the field know nothing else.
  const key = createHash('md5').update(`${username}:${realm}:${password}`).digest();
  return createHmac('sha1', key).update(signed).digest();
}

function isSigned(message: Buffer, at: number | undefined, credential: Credential): boolean {
  if (at === undefined || message.readUInt16BE(at + 2) !== 20) return false;
  const signed = Buffer.from(message.subarray(0, at));
  signed.writeUInt16BE(at - HEADER_BYTES + 24, 2);
  return timingSafeEqual(sign(signed, credential), message.subarray(at + 4, at + 24));
}

/** XOR-MAPPED-ADDRESS and its kind (RFC 8489 14.2). */
function readAddress(value: Buffer | undefined, transaction: Buffer): string | undefined {
  if (!value) return undefined;
  const family = value[1];
  const size = family === 1 ? 4 : family === 2 ? 16 : 0;
  if (size === 0 || value.length !== 4 + size) return undefined;
  const port = value.readUInt16BE(2) ^ (COOKIE >>> 16);
  const mask = Buffer.concat([header(0, 0, transaction).subarray(4, 8), transaction]);
  const plain = value.subarray(4).map((byte, index) => byte ^ (mask[index] ?? 0));
  if (family === 1) return `${plain.join('.')}:${port}`;
  const groups = Array.from({ length: 8 }, (_, index) =>
    Buffer.from(plain)
      .readUInt16BE(index * 2)
      .toString(16),
  );
  return `[${groups.join(':')}]:${port}`;
}

/** RFC 8489 14.8. */
function readError(value: Buffer | undefined): StunAnswer['error'] {
  if (!value || value.length < 4 || value.length > MAX_TEXT_BYTES + 4) return undefined;
  const [hundreds, rest] = [(value[2] ?? 0) & 7, value[3] ?? 0];
  if (hundreds < 3 || hundreds > 6 || rest > 99) return undefined;
  return { code: hundreds * 100 + rest, reason: value.subarray(4).toString('utf8') };
}

const SERVER =
  /^(stuns?|turns?):(?:\/\/)?(?:([^:@\s]+):([^@\s]*)@)?(\[[0-9a-f:.]+\]|[^:@/?\s[\]]+)(?::(\d{1,5}))?(?:\?transport=(udp|tcp|tls))?$/i;

/** `stun:host:port`, `turn:user:password@host:port?transport=udp`, as node-datachannel takes them. Undefined: not one of these. */
export function parseIceServer(text: string): IceServer | undefined {
  const match = SERVER.exec(text);
  if (!match) return undefined;
  const [, scheme = '', username, password, host = '', digits, wanted] = match;
  const secure = scheme.toLowerCase().endsWith('s');
  const port = digits === undefined ? (secure ? 5349 : 3478) : Number(digits);
  if (port < 1 || port > 65_535) return undefined;
  const [user, secret] = [decode(username), decode(password)];
  return {
    kind: scheme.toLowerCase().startsWith('turn') ? 'turn' : 'stun',
    host: host.replace(/^\[|\]$/g, ''),
    port,
    transport: secure ? 'tls' : ((wanted?.toLowerCase() as IceServer['transport'] | undefined) ?? 'udp'),
    ...(user === undefined ? {} : { username: user }),
    ...(secret === undefined ? {} : { password: secret }),
  };
}

/** Percent signs that encode nothing are meant as they are. */
function decode(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
