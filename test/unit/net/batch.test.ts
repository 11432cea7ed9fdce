/** The batch codec: what goes in comes out, and no bytes make it throw. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  checkRun,
  decodeHeader,
  encodeBatch,
  encodeRun,
  FLOOD,
  FRAMES,
  frames,
  HEADER_BYTES,
  MAX_FRAME_BYTES,
  PROBE,
  runOf,
  writeTtl,
  type BatchHeader,
} from '../../../src/net/batch.ts';

const u16 = fc.integer({ min: 0, max: 0xffff });
const headers: fc.Arbitrary<BatchHeader> = fc.record({
  type: fc.constantFrom(0 as const, 1 as const, 2 as const, 3 as const),
  ttl: fc.integer({ min: 0, max: 255 }),
  source: u16,
  destination: u16,
  lan: u16,
  epoch: u16,
  life: u16,
  sequence: fc.integer({ min: 0, max: 0xffff_ffff }),
});
const frameLists = fc.array(fc.uint8Array({ minLength: 14, maxLength: 200 }), { minLength: 1, maxLength: 20 });

describe('a batch', () => {
  test('comes back as it was made', () => {
    fc.assert(
      fc.property(headers, frameLists, (header, list) => {
        const run = encodeRun(list);
        const batch = encodeBatch(header, run);
        expect(decodeHeader(batch)).toEqual(header);
        expect([...frames(runOf(batch))].map((frame) => Buffer.from(frame))).toEqual(list.map((f) => Buffer.from(f)));
        expect(checkRun(run)).toBe(true);
      }),
    );
  });

  test('has the layout that the other end expects', () => {
    const header = {
      type: PROBE,
      ttl: 9,
      source: 0x0102,
      destination: FLOOD,
      lan: 0x0304,
      epoch: 0x0506,
      life: 0x0708,
      sequence: 0x090a0b0c,
    } as const;
    expect(Buffer.from(encodeBatch(header)).toString('hex')).toBe('11090102ffff030405060708090a0b0c');
  });

  test('loses one hop and nothing else when the ttl is written', () => {
    const batch = encodeBatch({
      type: FRAMES,
      ttl: 9,
      source: 1,
      destination: 2,
      lan: 3,
      epoch: 4,
      life: 5,
      sequence: 6,
    });
    writeTtl(batch, 8);
    expect(decodeHeader(batch)).toMatchObject({ ttl: 8, source: 1, destination: 2, sequence: 6 });
  });

  test('of another version, of an unknown type, or too short is none', () => {
    const batch = encodeBatch({
      type: FRAMES,
      ttl: 1,
      source: 1,
      destination: 2,
      lan: 3,
      epoch: 4,
      life: 5,
      sequence: 6,
    });
    expect(decodeHeader(batch.with(0, 0x20))).toBeUndefined();
    expect(decodeHeader(batch.with(0, 0x14))).toBeUndefined();
    expect(decodeHeader(batch.subarray(0, HEADER_BYTES - 1))).toBeUndefined();
  });
});

describe('a run', () => {
  test('cut anywhere but between two frames is refused', () => {
    fc.assert(
      fc.property(frameLists, fc.nat(), (list, where) => {
        const run = encodeRun(list);
        const cut = where % run.length;
        const boundaries = new Set(list.map((_, i) => encodeRun(list.slice(0, i)).length));
        expect(checkRun(run.subarray(0, cut))).toBe(cut > 0 && boundaries.has(cut));
      }),
    );
  });

  test('of any bytes is walked without an error, and only whole frames come out', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        let seen = 0;
        for (const frame of frames(bytes)) seen += 4 + frame.length;
        expect(seen).toBeLessThanOrEqual(bytes.length);
        expect(checkRun(bytes)).toBe(seen === bytes.length && seen > 0);
      }),
    );
  });

  test.each([
    [13, false],
    [14, true],
    [MAX_FRAME_BYTES, true],
    [MAX_FRAME_BYTES + 1, false],
  ])('with a frame of %i bytes: %s', (length, legal) => {
    expect(checkRun(encodeRun([new Uint8Array(length)]))).toBe(legal);
  });

  test('that is empty is none', () => {
    expect(checkRun(new Uint8Array(0))).toBe(false);
  });
});
