/** Batches in messages: as few as possible, whole and in order, and nothing of a hostile peer gets through. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  createPacker,
  isData,
  MESSAGE_BYTES,
  PACKING_BYTES,
  probedMessage,
  probeMessage,
  readMessage,
  receivedMessage,
} from '../../../src/wire/packing.ts';

const read = (message: Uint8Array) => {
  const heard: unknown[] = [];
  const fine = readMessage(message, {
    onBatch: (batch) => heard.push(new Uint8Array(batch)),
    onReceived: (total) => heard.push(total),
    onProbe: () => heard.push('probe'),
    onProbed: () => heard.push('probed'),
  });
  return { fine, heard };
};

const takeAll = (packer: ReturnType<typeof createPacker>) => {
  const messages: Uint8Array[] = [];
  for (let message = packer.take(); message; message = packer.take()) messages.push(new Uint8Array(message));
  return messages;
};

describe('a packer', () => {
  test('what went in comes out whole and in order, whatever was taken in between', () => {
    const step = fc.oneof(fc.integer({ min: 1, max: 100_000 }), fc.constant('take' as const));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const packer = createPacker();
        const messages: Uint8Array[] = [];
        const sizes: number[] = [];
        for (const size of steps) {
          if (size === 'take') messages.push(...[packer.take()].flatMap((m) => (m ? [new Uint8Array(m)] : [])));
          else packer.add(new Uint8Array(size).fill(sizes.push(size)));
        }
        messages.push(...takeAll(packer));
        expect(packer.bytes).toBe(0);
        const batches = messages.flatMap((message) => read(message).heard as Uint8Array[]);
        expect(batches.map((batch) => [batch.length, batch[0], batch.at(-1)])).toEqual(
          sizes.map((size, i) => [size, i + 1, i + 1]),
        );
      }),
    );
  });

  test('forty-three frames of their own make one message', () => {
    const packer = createPacker();
    for (let i = 0; i < 43; i++) packer.add(new Uint8Array(1514));
    expect(packer.bytes).toBe(1 + 43 * (4 + 1514));
    expect(takeAll(packer)).toHaveLength(1);
  });

  test('a message is closed when it is full, and no batch is cut', () => {
    const packer = createPacker();
    for (const size of [MESSAGE_BYTES, 10, 200_000, 10]) packer.add(new Uint8Array(size));
    expect(takeAll(packer).map(({ length }) => length)).toEqual([
      MESSAGE_BYTES + PACKING_BYTES,
      10 + PACKING_BYTES,
      200_000 + PACKING_BYTES,
      10 + PACKING_BYTES,
    ]);
  });
});

describe('messages', () => {
  test('that are no batches say what they say', () => {
    expect(read(receivedMessage(4_000_000_000)).heard).toEqual([4_000_000_000]);
    expect(read(probeMessage(1400)).heard).toEqual(['probe']);
    expect(read(probedMessage()).heard).toEqual(['probed']);
    expect([receivedMessage(1), probeMessage(9), probedMessage()].some(isData)).toBe(false);
  });

  test.each([
    ['empty', []],
    ['of another kind', [4, 0, 0]],
    ['cut in a length', [0, 0, 0, 0]],
    ['cut in a batch', [0, 0, 0, 0, 2, 7]],
    ['with an empty batch', [0, 0, 0, 0, 0, 0, 0, 0, 1, 7]],
    ['with a length of 4 GiB', [0, 255, 255, 255, 255, 7]],
    ['with a short total', [1, 0, 0, 1]],
  ])('%s are refused', (_, bytes) => {
    expect(read(Uint8Array.from(bytes))).toEqual({ fine: false, heard: [] });
  });

  test('of any bytes: never an error, never more out than came in', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const { heard } = read(bytes);
        const out = heard.reduce<number>((sum, batch) => sum + (batch instanceof Uint8Array ? batch.length : 0), 0);
        expect(out).toBeLessThanOrEqual(bytes.length);
      }),
    );
  });
});
