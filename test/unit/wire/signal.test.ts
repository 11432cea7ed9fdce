/** Signals at the door: ours pass, everything else is refused before the native library sees it. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { errorCode } from '../../../src/base/errors.ts';
import { parseSignal } from '../../../src/wire/signal.ts';

const CANDIDATE = 'candidate:1 1 UDP 2122317823 127.0.0.1 40000 typ host';
const SDP = `v=0\r\no=- 1 0 IN IP4 127.0.0.1\r\na=${CANDIDATE}\r\n`;

test('descriptions and candidates as our peers send them pass', () => {
  expect(parseSignal({ type: 'offer', sdp: SDP })).toEqual({ type: 'offer', sdp: SDP });
  expect(parseSignal({ candidates: [{ candidate: CANDIDATE, sdpMid: '0' }] })).toEqual({
    candidates: [{ candidate: CANDIDATE, sdpMLineIndex: 0, sdpMid: '0' }],
  });
  const ipv6 = 'candidate:2 1 UDP 1 fe80::1 9 typ srflx raddr 0.0.0.0 rport 0';
  expect(parseSignal({ candidates: [{ candidate: ipv6 }] })).toMatchObject({ candidates: [{ candidate: ipv6 }] });
});

test.each([
  ['nothing', null],
  ['a string', 'offer'],
  ['a request to renegotiate', { type: 'renegotiate', renegotiate: true }],
  ['a request for a transceiver', { type: 'transceiverRequest', transceiverRequest: { kind: 'video' } }],
  ['a rollback', { type: 'rollback', sdp: SDP }],
  ['a description with something else in it', { type: 'offer', sdp: SDP, candidate: {} }],
  ['a description of 17 KB', { type: 'offer', sdp: 'v'.repeat(17_000) }],
  ['a description that is not text', { type: 'offer', sdp: 'v=0\r\n\u0000' }],
  [
    'a description whose candidate has a name',
    { type: 'offer', sdp: `${SDP}a=${CANDIDATE.replace('127.0.0.1', 'evil.example')}\r\n` },
  ],
  ['a candidate that is a name', { candidates: [{ candidate: CANDIDATE.replace('127.0.0.1', 'evil.example') }] }],
  [
    'a candidate for DNS in hexadecimal clothes',
    { candidates: [{ candidate: CANDIDATE.replace('127.0.0.1', 'fade.cab') }] },
  ],
  ['a candidate with port 0', { candidates: [{ candidate: CANDIDATE.replace('40000', '0') }] }],
  ['a candidate with port 70000', { candidates: [{ candidate: CANDIDATE.replace('40000', '70000') }] }],
  ['a candidate with a line end', { candidates: [{ candidate: `${CANDIDATE}\r\na=evil` }] }],
  ['a candidate of 600 bytes', { candidates: [{ candidate: `${CANDIDATE} ${'x'.repeat(600)}` }] }],
  ['17 candidates', { candidates: Array.from({ length: 17 }, () => ({ candidate: CANDIDATE })) }],
  ['no candidate', { candidates: [] }],
  ['a long media id', { candidates: [{ candidate: CANDIDATE, sdpMid: '1234' }] }],
])('%s is refused', (_, data) => {
  expect(() => parseSignal(data)).toThrow(expect.objectContaining({ code: 'wire.signal' }));
});

test('anything at all is either refused with our error or passes', () => {
  const outcome = (data: unknown) => {
    try {
      parseSignal(data);
      return 'wire.signal';
    } catch (error) {
      return errorCode(error);
    }
  };
  fc.assert(
    fc.property(fc.anything(), (data) => {
      expect(outcome(data)).toBe('wire.signal');
    }),
  );
});
