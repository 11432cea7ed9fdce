/** Signals of direct wires at the door, and the prefaces that follow from them. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { errorCode } from '../../../src/base/errors.ts';
import { silentLog } from '../../../src/base/log.ts';
import {
  isPreface,
  parseDirectSignal,
  PREFACE_BYTES,
  prefacesOf,
  type DirectAnswer,
  type DirectOffer,
} from '../../../src/wire/direct-signal.ts';
import { createSignalRouter } from '../../../src/wire/signaling.ts';

const OFFER: DirectOffer = {
  type: 'direct-offer',
  lan: 1,
  fingerprint: 'a'.repeat(64),
  nonce: 'A'.repeat(22),
  candidates: [{ host: '192.0.2.1', port: 4000 }],
};
const ANSWER: DirectAnswer = { ...OFFER, type: 'direct-answer', fingerprint: 'b'.repeat(64), answers: 'a'.repeat(64) };

test('offers and answers as our peers send them pass, also from hosts that can only dial', () => {
  for (const signal of [OFFER, ANSWER, { ...OFFER, candidates: [] }]) expect(parseDirectSignal(signal)).toEqual(signal);
});

test.each([
  ['nothing', null],
  ['an answer that answers nothing', { ...OFFER, type: 'direct-answer' }],
  ['an offer that answers', { ...OFFER, answers: 'a'.repeat(64) }],
  ['another type', { ...OFFER, type: 'direct-retry' }],
  ['something else in it', { ...OFFER, sdp: 'v=0' }],
  ['a negative LAN', { ...OFFER, lan: -1 }],
  ['a fingerprint in capitals', { ...OFFER, fingerprint: 'A'.repeat(64) }],
  ['a fingerprint that is too short', { ...OFFER, fingerprint: 'a'.repeat(63) }],
  ['a nonce with a line end', { ...OFFER, nonce: `${'A'.repeat(21)}\n` }],
  ['nine candidates', { ...OFFER, candidates: Array.from({ length: 9 }, () => OFFER.candidates[0]) }],
  ['a name', { ...OFFER, candidates: [{ host: 'evil.example', port: 4000 }] }],
  ['a multicast address', { ...OFFER, candidates: [{ host: '224.0.0.1', port: 4000 }] }],
  ['a port that is text', { ...OFFER, candidates: [{ host: '192.0.2.1', port: '4000' }] }],
  ['port 0', { ...OFFER, candidates: [{ host: '192.0.2.1', port: 0 }] }],
])('%s is refused', (_, data) => {
  expect(() => parseDirectSignal(data)).toThrow(expect.objectContaining({ code: 'wire.signal' }));
});

test('anything at all is either refused with our error or passes', () => {
  const shapes = fc.oneof(
    fc.anything(),
    fc.record({
      type: fc.constantFrom('direct-offer', 'direct-answer'),
      lan: fc.anything(),
      fingerprint: fc.anything(),
      nonce: fc.anything(),
      candidates: fc.oneof(fc.anything(), fc.array(fc.record({ host: fc.string(), port: fc.nat() }))),
    }),
  );
  const outcome = (data: unknown) => {
    try {
      parseDirectSignal(data);
      return 'wire.signal';
    } catch (error) {
      return errorCode(error);
    }
  };
  fc.assert(
    fc.property(shapes, (data) => {
      expect(outcome(data)).toBe('wire.signal');
    }),
  );
});

test('prefaces differ by role, LAN, nonces and certificates; by nothing else', () => {
  const first = prefacesOf(OFFER, ANSWER, 1);
  expect(isPreface(first.offerer, first.answerer)).toBe(false);
  expect(first.offerer).toHaveLength(PREFACE_BYTES);
  const same = prefacesOf({ ...OFFER, candidates: [] }, { ...ANSWER, candidates: [] }, 1);
  expect(isPreface(same.offerer, first.offerer) && isPreface(same.answerer, first.answerer)).toBe(true);
  for (const [offer, answer, lan] of [
    [OFFER, ANSWER, 2],
    [{ ...OFFER, nonce: 'B'.repeat(22) }, ANSWER, 1],
    [OFFER, { ...ANSWER, nonce: 'B'.repeat(22) }, 1],
    [{ ...OFFER, fingerprint: 'c'.repeat(64) }, ANSWER, 1],
    [OFFER, { ...ANSWER, fingerprint: 'c'.repeat(64) }, 1],
  ] as const) {
    const other = prefacesOf(offer, answer, lan);
    expect(isPreface(other.offerer, first.offerer)).toBe(false);
    expect(isPreface(other.answerer, first.answerer)).toBe(false);
  }
  expect(isPreface(first.offerer.subarray(1), first.offerer)).toBe(false);
});

test('a direct offer opens an attempt as any offer does, and a bad one does not', () => {
  const router = createSignalRouter({ send: async () => {}, log: silentLog });
  const heard: unknown[] = [];
  using pipe = router.pipe({ peer: 'ben', channel: 'x', offer: false });
  pipe.onData((data) => heard.push(data));
  router.dispatch('ben', 'x', 'one', { ...OFFER, lan: 'one' });
  router.dispatch('ben', 'x', 'two', OFFER);
  router.dispatch('ben', 'x', 'one', OFFER);
  expect(heard).toEqual([OFFER]);
});
