/** A slow line: what is small goes first, what is large goes in pieces, what is old does not go at all. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createTrickle, createTrickleReader } from '../../../src/wire/trickle.ts';

const KEYSTROKE = 130;
const FRAME = 1534;
const MAX = 2000;

function world(maxBytes = 1_000_000) {
  let time = 0;
  const out: { readonly length: number; readonly fill: number }[] = [];
  const reader = createTrickleReader((batch) => {
    expect(batch.every((byte) => byte === batch[0])).toBe(true);
    out.push({ length: batch.length, fill: batch[0]! });
  });
  const queue = createTrickle({ now: () => time, maxBytes });
  const batch = (length: number, fill = 0) => queue.push(new Uint8Array(length).fill(fill));
  return { queue, reader, out, batch, pass: (ms: number) => (time += ms) };
}

describe('a trickle', () => {
  test('whatever the sizes, what arrives is whole and in order of its kind', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 12_000 }), { maxLength: 60 });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 400, max: 12_000 }), (lengths, max) => {
        const { queue, reader, out, batch } = world();
        for (const [i, length] of lengths.entries()) batch(length, i);
        for (let payload = queue.take(max); payload; payload = queue.take(max)) {
          expect(payload.length).toBeLessThanOrEqual(max);
          expect(reader.read(payload)).toBe(true);
        }
        expect(queue.bytes).toBe(0);
        const all = lengths.map((length, fill) => ({ length, fill }));
        const isSmall = ({ length }: { readonly length: number }) => length <= 276;
        expect(out.filter(isSmall)).toEqual(all.filter(isSmall));
        expect(out.filter((one) => !isSmall(one))).toEqual(all.filter((one) => !isSmall(one)));
      }),
    );
  });

  test('a keystroke leaves with the next payload, though twenty seconds of bulk wait and a large batch is half out', () => {
    const { queue, reader, out, batch } = world();
    for (let i = 0; i < 10; i++) batch(12_000, 1);
    reader.read(queue.take(MAX)!);
    batch(KEYSTROKE, 9);
    reader.read(queue.take(MAX)!);
    expect(out).toEqual([{ length: KEYSTROKE, fill: 9 }]);
  });

  test('a flood of small batches leaves bulk one payload in five', () => {
    const { queue, reader, out, batch } = world();
    for (let i = 0; i < 20; i++) batch(FRAME, 1);
    for (let step = 0; step < 50; step++) {
      for (let i = 0; i < 20; i++) batch(KEYSTROKE, 2);
      reader.read(queue.take(MAX)!);
    }
    expect(out.filter(({ length }) => length === FRAME).length).toBeGreaterThanOrEqual(9);
  });

  test('bulk that stands for seconds is thinned out from its old end, so that its flows slow down', () => {
    const { queue, reader, out, batch, pass } = world();
    for (let step = 0; step < 400; step++) {
      for (let i = 0; i < 2; i++) batch(FRAME); // twice of what gets through
      reader.read(queue.take(MAX)!);
      pass(250);
    }
    expect(queue.dropped).toBeGreaterThan(50);
    // What is small is never thinned out.
    batch(KEYSTROKE);
    pass(60_000);
    reader.read(queue.take(MAX)!);
    expect(out.some(({ length }) => length === KEYSTROKE)).toBe(true);
  });

  test('a queue that stands for a moment only, and one single old batch, lose nothing', () => {
    const { queue, reader, out, batch, pass } = world();
    for (let i = 0; i < 6; i++) batch(FRAME, i);
    for (let i = 0; i < 6; i++) {
      pass(250);
      reader.read(queue.take(MAX)!);
    }
    batch(FRAME, 6);
    pass(100_000);
    reader.read(queue.take(MAX)!);
    expect(out).toHaveLength(7);
    expect(queue.dropped).toBe(0);
  });

  test('memory is bounded, the oldest goes first', () => {
    const { queue, batch } = world(5000);
    for (let i = 0; i < 10; i++) batch(FRAME, i);
    expect(queue.bytes).toBeLessThanOrEqual(5000);
    expect(queue.dropped).toBe(7);
  });
});

describe('a reader', () => {
  test('loses one batch with one piece, and goes on with the next', () => {
    for (const lost of [0, 1]) {
      const { queue, reader, out, batch } = world();
      batch(5000, 1);
      batch(5000, 2);
      let index = 0;
      for (let payload = queue.take(MAX); payload; payload = queue.take(MAX))
        if (index++ !== lost) reader.read(payload);
      expect(out).toEqual([{ length: 5000, fill: 2 }]);
    }
  });

  test.each([
    ['a last piece that is no piece', [0x40, 1, 7]],
    ['an empty piece', [0x80, 0, 1, 0]],
    ['a piece without numbers', [0x80, 1, 1]],
  ])('%s is refused', (_, bytes) => {
    const { reader, out } = world();
    expect(reader.read(Uint8Array.from(bytes))).toBe(false);
    expect(out).toEqual([]);
  });

  test('pieces without end cost no memory', () => {
    const { reader, out } = world();
    const piece = new Uint8Array(4 + 8000);
    for (let at = 0; at < 200; at++) {
      piece.set([0x80 | (8000 >> 8), 8000 & 255, 7, at]);
      expect(reader.read(piece)).toBe(true);
    }
    piece.set([0xc0 | (8000 >> 8), 8000 & 255, 7, 200]);
    reader.read(piece);
    expect(out).toEqual([]);
  });

  test('any bytes: no error, never more out than came in', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 20 }), (payloads) => {
        let out = 0;
        const reader = createTrickleReader((batch) => (out += batch.length));
        for (const payload of payloads) reader.read(payload);
        expect(out).toBeLessThanOrEqual(payloads.reduce((sum, { length }) => sum + length, 0));
      }),
    );
  });
});
