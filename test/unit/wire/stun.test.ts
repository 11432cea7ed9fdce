/** STUN messages: the RFC's own bytes, and what a hostile server may send instead. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeAnswer, encodeRequest, parseIceServer, type Credential } from '../../../src/wire/stun.ts';
import { addressAttribute, attribute, errorAttribute, reply } from '../../harness/stun-server.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

/** RFC 5769 2.2 to 2.4. */
const TRANSACTION = hex('b7e7a701 bc34d686 fa87dfae');
const IPV4_ANSWER = hex(`0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200008
  0001a147 e112a643 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96`);
const IPV6_ANSWER = hex(`01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200014
  0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9 00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c`);
const SIGNED_REQUEST = hex(`00010060 2112a442 78ad3433 c6ad72c0 29da412e 00060012 e3839ee3 8388e383 aae38383 e382afe3
  82b90000 0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341 0014000b 6578616d 706c652e 6f726700
  00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666`);

const binding = { method: 'binding', transaction: TRANSACTION } as const;
const credential: Credential = {
  username: 'ann',
  password: 'secret',
  realm: 'example.org',
  nonce: Buffer.from('nonce'),
};
const request = encodeRequest('allocate', TRANSACTION, credential);
const relayed = addressAttribute(0x0016, '192.0.2.9', 50_000);

describe('the bytes of RFC 5769', () => {
  test('an IPv4 and an IPv6 answer say how we are seen', () => {
    expect(decodeAnswer(IPV4_ANSWER, binding)).toEqual({ success: true, mapped: '192.0.2.1:32853' });
    const mapped = '[2001:db8:1234:5678:11:2233:4455:6677]:32853';
    expect(decodeAnswer(IPV6_ANSWER, binding)).toEqual({ success: true, mapped });
  });

  test('a request with a long-term credential is signed as there', () => {
    const matrix = {
      username: 'マトリックス',
      password: 'TheMatrIX',
      realm: 'example.org',
      nonce: Buffer.from('f//499k954d6OL34oL9FSTvy64sA'),
    };
    const made = encodeRequest('binding', hex('78ad3433 c6ad72c0 29da412e'), matrix);
    expect(made.toString('hex')).toBe(SIGNED_REQUEST.toString('hex'));
  });
});

describe('an answer counts only if it is one to our request', () => {
  test.each([
    ['another transaction', (bytes: Buffer) => bytes.fill(0, 8, 20)],
    ['another method', (bytes: Buffer) => bytes.fill(0x03, 1, 2)],
    ['a request', (bytes: Buffer) => bytes.fill(0, 0, 1)],
    ['an indication', (bytes: Buffer) => bytes.fill(0x00, 0, 1).fill(0x11, 1, 2)],
    ['another cookie', (bytes: Buffer) => bytes.fill(0, 4, 8)],
    ['a length that is too small', (bytes: Buffer) => bytes.fill(0x38, 3, 4)],
    ['a length that is too large', (bytes: Buffer) => bytes.fill(0x40, 3, 4)],
    ['an attribute that is longer than the message', (bytes: Buffer) => bytes.fill(0xff, 22, 24)],
    ['bytes after the end', (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(4)])],
  ])('%s is none', (_what, spoil) => {
    expect(decodeAnswer(spoil(Buffer.from(IPV4_ANSWER)), binding)).toBeUndefined();
  });

  test('cut off anywhere it is none', () => {
    for (let length = 0; length < IPV4_ANSWER.length; length++)
      expect(decodeAnswer(IPV4_ANSWER.subarray(0, length), binding)).toBeUndefined();
  });

  test('an oversized one is none, however right it is', () => {
    const padded = reply(encodeRequest('binding', TRANSACTION), 'success', [
      addressAttribute(0x0020, '192.0.2.1', 9),
      attribute(0x8022, Buffer.alloc(4000)),
    ]);
    expect(decodeAnswer(padded, binding)).toBeUndefined();
  });

  test('an address of an unknown family or a wrong size is no address', () => {
    const ask = encodeRequest('binding', TRANSACTION);
    for (const value of ['00030000aabbccdd', '00010000aabbccddee', '00020000aabbccdd', '00', ''])
      expect(decodeAnswer(reply(ask, 'success', [attribute(0x0020, hex(value))]), binding)).toEqual({ success: true });
  });

  test('an error without a code, or with one that is none, is no answer', () => {
    const ask = encodeRequest('binding', TRANSACTION);
    for (const value of ['', '0000', '00000763', '00000200', '00000464'])
      expect(decodeAnswer(reply(ask, 'error', [attribute(0x0009, hex(value))]), binding)).toBeUndefined();
    expect(decodeAnswer(reply(ask, 'error', [errorAttribute(420, 'Unknown')]), binding)).toEqual({
      success: false,
      error: { code: 420, reason: 'Unknown' },
    });
  });

  test('a realm or nonce that is longer than the RFC allows is none', () => {
    const long = [attribute(0x0014, 'r'.repeat(764)), attribute(0x0015, 'n'.repeat(764))];
    const answer = reply(encodeRequest('binding', TRANSACTION), 'error', [errorAttribute(401, ''), ...long]);
    expect(decodeAnswer(answer, binding)).toEqual({ success: false, error: { code: 401, reason: '' } });
  });

  test('whatever comes, nothing is thrown and text stays short', () => {
    const spoiled = fc
      .tuple(fc.nat(IPV4_ANSWER.length - 1), fc.nat(255))
      .map(([at, value]) => Buffer.from(IPV4_ANSWER).fill(value, at, at + 1));
    const lying = fc
      .array(fc.tuple(fc.constantFrom(0x09, 0x14, 0x15, 0x16, 0x20, 0x08), fc.uint8Array({ maxLength: 1200 })))
      .map((parts) =>
        reply(
          encodeRequest('binding', TRANSACTION),
          'success',
          parts.map(([type, value]) => attribute(type, Buffer.from(value))),
        ),
      );
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 3000 }), spoiled, lying), (bytes) => {
        const answer = decodeAnswer(bytes, binding);
        expect(answer?.nonce?.length ?? 0).toBeLessThanOrEqual(763);
      }),
    );
  });
});

describe('with a credential the server must know it, too', () => {
  const expected = { method: 'allocate', transaction: TRANSACTION, credential } as const;

  test('a signed success counts', () => {
    expect(decodeAnswer(reply(request, 'success', [relayed], credential), expected)).toEqual({
      success: true,
      relayed: '192.0.2.9:50000',
    });
  });

  test('an unsigned one, one by another password, and one changed on the way do not', () => {
    expect(decodeAnswer(reply(request, 'success', [relayed]), expected)).toBeUndefined();
    const other = { ...credential, password: 'guess' };
    expect(decodeAnswer(reply(request, 'success', [relayed], other), expected)).toBeUndefined();
    const changed = reply(request, 'success', [relayed], credential);
    changed.writeUInt8(changed.readUInt8(28) ^ 1, 28);
    expect(decodeAnswer(changed, expected)).toBeUndefined();
  });

  test('what follows the signature is not read', () => {
    const signed = reply(request, 'success', [], credential);
    const more = Buffer.concat([signed, relayed]);
    more.writeUInt16BE(more.length - 20, 2);
    expect(decodeAnswer(more, expected)).toEqual({ success: true });
  });

  test('a refusal needs no signature: it comes before there is a key', () => {
    const refusal = reply(request, 'error', [
      errorAttribute(401, 'Unauthorized'),
      attribute(0x0014, 'example.org'),
      attribute(0x0015, 'n1'),
    ]);
    expect(decodeAnswer(refusal, expected)).toEqual({
      success: false,
      error: { code: 401, reason: 'Unauthorized' },
      realm: 'example.org',
      nonce: Buffer.from('n1'),
    });
  });
});

describe('an entry of iceServers', () => {
  test.each([
    ['stun:stun.example.org:3479', { kind: 'stun', host: 'stun.example.org', port: 3479, transport: 'udp' }],
    ['stun:stun.example.org', { kind: 'stun', host: 'stun.example.org', port: 3478, transport: 'udp' }],
    [
      'turn:1700000000%3Aann:p%40ss@192.0.2.1:3478',
      { kind: 'turn', host: '192.0.2.1', port: 3478, transport: 'udp', username: '1700000000:ann', password: 'p@ss' },
    ],
    [
      'turn:ann:s:e:c@[2001:db8::1]?transport=tcp',
      { kind: 'turn', host: '2001:db8::1', port: 3478, transport: 'tcp', username: 'ann', password: 's:e:c' },
    ],
    ['turns:host', { kind: 'turn', host: 'host', port: 5349, transport: 'tls' }],
    [
      'turn:100%:50%@host',
      { kind: 'turn', host: 'host', port: 3478, transport: 'udp', username: '100%', password: '50%' },
    ],
  ])('%s', (text, server) => {
    expect(parseIceServer(text)).toEqual(server);
  });

  test.each(['', 'stun:', 'http://host', 'stun:host:0', 'stun:host:70000', 'stun:a b', 'turn:user@host', 'host:3478'])(
    '%j is none',
    (text) => {
      expect(parseIceServer(text)).toBeUndefined();
    },
  );
});
