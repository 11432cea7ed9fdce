/** A STUN server by script: it hears each request and answers with whatever bytes the test likes. */
import { createHash, createHmac } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

export interface StunServer extends AsyncDisposable {
  readonly port: number;
  /** Requests so far. */
  readonly heard: readonly Buffer[];
}

/** `answer` gets each request and its number, from 0. */
export async function startStunServer(
  answer: (request: Buffer, index: number, from: { address: string; port: number }) => readonly Buffer[],
): Promise<StunServer> {
  const socket = createSocket('udp4');
  const heard: Buffer[] = [];
  socket.on('message', (request, from) => {
    heard.push(request);
    for (const bytes of answer(request, heard.length - 1, from)) socket.send(bytes, from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    port: socket.address().port,
    heard,
    async [Symbol.asyncDispose]() {
      socket.close();
      await once(socket, 'close');
    },
  };
}

export const attribute = (type: number, value: Buffer | string): Buffer => {
  const body = Buffer.from(value);
  const head = Buffer.alloc(4);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(body.length, 2);
  return Buffer.concat([head, body, Buffer.alloc((4 - (body.length % 4)) % 4)]);
};

/** An IPv4 address in the XOR form, as attribute 0x0020 (mapped) or 0x0016 (relayed). */
export const addressAttribute = (type: number, address: string, port: number): Buffer => {
  const cookie = [0x21, 0x12, 0xa4, 0x42];
  const bytes = address.split('.').map((part, index) => Number(part) ^ (cookie[index] ?? 0));
  const xored = port ^ 0x2112;
  return attribute(type, Buffer.from([0, 1, xored >> 8, xored & 0xff, ...bytes]));
};

export const errorAttribute = (code: number, reason: string): Buffer =>
  attribute(0x0009, Buffer.concat([Buffer.from([0, 0, Math.floor(code / 100), code % 100]), Buffer.from(reason)]));

/** The answer to this request; `kind` replaces its class bits, so a binding (0x0001) becomes 0x0101 or 0x0111. */
export function reply(
  request: Buffer,
  kind: 'success' | 'error',
  attributes: readonly Buffer[],
  key?: { readonly username: string; readonly realm: string; readonly password: string },
): Buffer {
  const body = Buffer.concat(attributes);
  const head = Buffer.from(request.subarray(0, 20));
  head.writeUInt16BE(request.readUInt16BE(0) | (kind === 'success' ? 0x0100 : 0x0110), 0);
  head.writeUInt16BE(body.length + (key ? 24 : 0), 2);
  const message = Buffer.concat([head, body]);
  if (!key) return message;
  const secret = createHash('md5').update(`${key.username}:${key.realm}:${key.password}`).digest();
  return Buffer.concat([message, attribute(0x0008, createHmac('sha1', secret).update(message).digest())]);
}

/** Whether the request is signed with this key (RFC 8489 14.5), its signature being the last attribute. */
export function isSignedBy(request: Buffer, key: { username: string; realm: string; password: string }): boolean {
  const unsigned = request.subarray(0, -24);
  const secret = createHash('md5').update(`${key.username}:${key.realm}:${key.password}`).digest();
  return request.subarray(-20).equals(createHmac('sha1', secret).update(unsigned).digest());
}
