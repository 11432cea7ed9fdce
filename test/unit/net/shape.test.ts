/** Words of netem with units of tc, and what is none of them. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseShape, shapeText, type ShapeWords } from '../../../src/net/shape.ts';

describe('a shape in words', () => {
  test.each<[ShapeWords, object]>([
    [{ rate: '10mbit' }, { rate: 1e7 }],
    [{ rate: '10Mbit' }, { rate: 1e7 }],
    [{ rate: '512kibit' }, { rate: 524_288 }],
    // tc: bps is bytes per second.
    [{ rate: '125kbps' }, { rate: 1e6 }],
    [{ rate: '1gbit' }, { rate: 1e9 }],
    [{ rate: '64000' }, { rate: 64_000 }],
    [{ rate: 64_000 }, { rate: 64_000 }],
    [{ delay: '20ms' }, { delayMs: 20 }],
    [{ delay: '1.5s' }, { delayMs: 1500 }],
    [{ delay: '300us' }, { delayMs: 0.3 }],
    [
      { delay: 20, jitter: '5msecs' },
      { delayMs: 20, jitterMs: 5 },
    ],
    [{ loss: '1%' }, { loss: 0.01 }],
    // As tc has it: a number is per cent.
    [{ loss: '1' }, { loss: 0.01 }],
    [{ loss: 1 }, { loss: 0.01 }],
    [{ loss: '100%' }, { loss: 1 }],
    [
      { duplicate: '0.1%', corrupt: '0.01%' },
      { duplicate: 0.001, corrupt: 0.0001 },
    ],
    [
      { delay: '1ms', reorder: '5%' },
      { delayMs: 1, reorder: 0.05 },
    ],
    [
      { loss: 1, limit: 100 },
      { loss: 0.01, limitFrames: 100 },
    ],
    [
      { loss: 1, limit: '100' },
      { loss: 0.01, limitFrames: 100 },
    ],
    [
      { loss: 1, limit: '64kb' },
      { loss: 0.01, limitBytes: 65_536 },
    ],
  ])('%j', (words, shape) => {
    const parsed = parseShape(words);
    expect(Object.keys(parsed ?? {}).toSorted()).toEqual(Object.keys(shape).toSorted());
    for (const [key, value] of Object.entries(shape)) expect(parsed).toHaveProperty(key, expect.closeTo(value, 9));
  });

  test.each<ShapeWords>([{}, { loss: 0 }, { delay: '0ms', jitter: 0, duplicate: '0%' }])('%j is none', (words) => {
    expect(parseShape(words)).toBeUndefined();
  });

  test.each<[ShapeWords, RegExp]>([
    [{ delay: '20' }, /delay 20 is not understood/],
    [{ delay: '20m' }, /delay 20m is not understood/],
    [{ delay: '20 ms' }, /not understood/],
    [{ delay: '-1ms' }, /not understood/],
    [{ delay: -1 }, /delay -1 is not within 0 and 60000/],
    [{ delay: '61s' }, /not within/],
    [{ rate: '10mb' }, /rate 10mb is not understood/],
    [{ rate: '0bit' }, /not within/],
    [{ rate: '10 mbit/s' }, /not understood/],
    [{ loss: '101%' }, /loss 101% is not within 0 and 100/],
    [{ loss: 'some' }, /not understood/],
    [{ loss: '' }, /not understood/],
    [{ loss: Number.NaN }, /not understood/],
    [{ loss: '1toString' }, /not understood/],
    [{ limit: 0 }, /limit 0 is not within/],
    [{ limit: '1mbit' }, /not understood/],
    [{ delay: '5ms', jitter: '6ms' }, /more jitter than delay/],
    [{ reorder: '5%' }, /reordering is not possible without a delay/],
    [{ speed: '5' } as ShapeWords, /there is no speed/],
  ])('%j is refused, with what to say instead', (words, why) => {
    expect(() => parseShape(words)).toThrow(
      expect.objectContaining({ code: 'shape.invalid', message: expect.stringMatching(why), hint: expect.any(String) }),
    );
  });

  test('is said again in words that mean the same', () => {
    const share = fc.integer({ min: 1, max: 1000 }).map((value) => `${value / 10}%`);
    const words = fc.record(
      {
        rate: fc.integer({ min: 1, max: 9999 }).map((value) => `${value}kbit`),
        delay: fc.integer({ min: 100, max: 60_000 }),
        jitter: fc.integer({ min: 1, max: 100 }),
        loss: share,
        duplicate: share,
        reorder: share,
        corrupt: share,
        limit: fc.oneof(fc.integer({ min: 1, max: 10_000 }), fc.constant('64kb')),
      },
      { requiredKeys: ['delay'] },
    );
    fc.assert(
      fc.property(words, (given) => {
        const shape = parseShape(given);
        const text = shapeText(shape ?? {}).split(' ');
        const again = Object.fromEntries(text.flatMap((word, i) => (i % 2 === 0 ? [[word, text[i + 1]]] : [])));
        const back = parseShape(again) ?? {};
        for (const [key, value] of Object.entries(shape ?? {})) {
          expect(back).toHaveProperty(key, expect.closeTo(value, 6));
        }
      }),
    );
  });
});
