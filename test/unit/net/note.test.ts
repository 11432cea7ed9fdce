/** The messages of link state: what is written is read, anything else is refused, nothing throws. */
import { isDeepStrictEqual } from 'node:util';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bodyOf,
  classOfSize,
  decodeMessage,
  decodeNote,
  encodeDigest,
  encodeNoteBody,
  encodeNotes,
  encodeSummary,
  MAX_DIGEST_ENTRIES,
  MAX_MACS,
  MAX_MESSAGE_BYTES,
  MAX_NEIGHBOURS,
  SIGNATURE_BYTES,
  signatureOf,
  sizeOfClass,
  type NoteBody,
} from '../../../src/net/note.ts';

const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
/** A unicast address: the lowest bit of the first octet is clear. */
const mac = fc.tuple(
  fc.integer({ min: 0, max: 0xff }).map((first) => first & 0xfe),
  fc.nat({ max: 2 ** 40 - 1 }),
);
/** noNullPrototype: what the decoder makes are plain objects. */
const body: fc.Arbitrary<NoteBody> = u16.chain((origin) =>
  fc.record(
    {
      origin: fc.constant(origin),
      sequence: u32,
      guest: fc.boolean(),
      neighbours: fc
        .uniqueArray(
          fc.record(
            {
              node: u16,
              cost: fc.integer({ min: 1, max: 0xffff }),
              maxBatch: fc.nat({ max: 255 }).map(sizeOfClass),
            },
            { noNullPrototype: true },
          ),
          { maxLength: 40, selector: ({ node }) => node },
        )
        .map((list) => list.filter(({ node }) => node !== origin).sort((a, b) => a.node - b.node)),
      macs: fc
        .uniqueArray(
          mac.map(([first, rest]) => first * 2 ** 40 + rest),
          { maxLength: 20 },
        )
        .map((list) => list.sort((a, b) => a - b)),
    },
    { noNullPrototype: true },
  ),
);

function signed(note: NoteBody): Uint8Array {
  const bytes = encodeNoteBody(note);
  const all = new Uint8Array(bytes.length + SIGNATURE_BYTES).fill(0x5a);
  all.set(bytes);
  return all;
}

const example: NoteBody = {
  origin: 7,
  sequence: 12,
  guest: true,
  neighbours: [
    { node: 2, cost: 150, maxBatch: 65_536 },
    { node: 9, cost: 1, maxBatch: sizeOfClass(classOfSize(12_000)) },
  ],
  macs: [0x02_6b_00_00_00_01],
};

describe('a note', () => {
  test('is read as it was written, and falls apart into what was signed and the signature', () => {
    fc.assert(
      fc.property(body, (note) => {
        const bytes = signed(note);
        expect(decodeNote(bytes)).toEqual(note);
        expect(bodyOf(bytes)).toEqual(encodeNoteBody(note));
        expect(signatureOf(bytes)).toEqual(new Uint8Array(SIGNATURE_BYTES).fill(0x5a));
      }),
    );
  });

  test('is written in one way, whatever the order of its lists', () => {
    fc.assert(
      fc.property(body, (note) => {
        const turned = { ...note, neighbours: note.neighbours.toReversed(), macs: note.macs.toReversed() };
        expect(encodeNoteBody(turned)).toEqual(encodeNoteBody(note));
      }),
    );
  });

  test('fits a message with all it may hold', () => {
    const full = signed({
      ...example,
      neighbours: Array.from({ length: MAX_NEIGHBOURS }, (_, i) => ({ node: 100 + i, cost: 9, maxBatch: 65_536 })),
      macs: Array.from({ length: MAX_MACS }, (_, i) => i),
    });
    expect(decodeNote(full)?.neighbours).toHaveLength(MAX_NEIGHBOURS);
    expect(encodeNotes([full])[0]!.length).toBeLessThan(MAX_MESSAGE_BYTES);
  });

  const change = (at: number, value: number) => {
    const bytes = signed(example);
    bytes[at] = value;
    return bytes;
  };
  test.each([
    ['a flag that nobody knows', change(6, 2)],
    ['more neighbours than there are', change(8, 3)],
    ['fewer neighbours than there are', change(8, 1)],
    ['another number of addresses', change(9, 2)],
    ['neighbours out of order', change(16, 1)],
    ['a neighbour twice', change(16, 2)],
    ['its own origin as a neighbour', change(11, 7)],
    ['a cost of nothing', change(18, 0)],
    ['a group address', change(20, 3)],
    ['a byte too many', new Uint8Array([...signed(example), 0])],
    ['a byte too few', signed(example).subarray(1)],
    ['nothing', new Uint8Array(0)],
  ])('with %s is refused', (_, bytes) => {
    expect(decodeNote(signed(example))).toEqual(example);
    expect(decodeNote(bytes)).toBeUndefined();
  });

  test('with too many neighbours or addresses is refused', () => {
    const neighbours = Array.from({ length: MAX_NEIGHBOURS + 1 }, (_, i) => ({
      node: 100 + i,
      cost: 9,
      maxBatch: 4096,
    }));
    expect(decodeNote(signed({ ...example, neighbours }))).toBeUndefined();
    expect(decodeNote(signed({ ...example, macs: Array.from({ length: MAX_MACS + 1 }, (_, i) => i) }))).toBeUndefined();
  });
});

test('the size of a batch is told rounded down, by less than a twentieth, and powers of two exactly', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1024, max: 2 ** 25 }), (bytes) => {
      const told = sizeOfClass(classOfSize(bytes));
      expect(told).toBeLessThanOrEqual(bytes);
      expect(told).toBeGreaterThan(bytes * 0.95);
    }),
  );
  for (let bytes = 1024; bytes <= 2 ** 25; bytes *= 2) expect(sizeOfClass(classOfSize(bytes))).toBe(bytes);
  expect([classOfSize(1), classOfSize(Infinity)]).toEqual([0, 255]);
});

describe('a message', () => {
  test('of notes comes in as few messages as possible, none too large, and all notes arrive in order', () => {
    fc.assert(
      fc.property(fc.array(body, { minLength: 1, maxLength: 60 }), (bodies) => {
        const notes = bodies.map(signed);
        const messages = encodeNotes(notes);
        const arrived = messages.flatMap((message) => {
          expect(message.length).toBeLessThanOrEqual(MAX_MESSAGE_BYTES);
          const read = decodeMessage(message);
          return read?.kind === 'notes' ? read.notes : [];
        });
        expect(arrived).toEqual(notes);
        const total = notes.reduce((sum, note) => sum + note.length + 2, 0);
        expect(messages.length).toBeLessThanOrEqual(1 + (2 * total) / MAX_MESSAGE_BYTES);
      }),
    );
  });

  test('no notes are no message', () => {
    expect(encodeNotes([])).toEqual([]);
  });

  test('of a summary is read as it was written', () => {
    fc.assert(
      fc.property(u32, u32, (high, low) => {
        expect(decodeMessage(encodeSummary(high, low))).toEqual({ kind: 'summary', high, low });
      }),
    );
  });

  test('of a digest is read as it was written, and 200 origins take 1,202 bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(u16, u32), { maxLength: 300 }), fc.boolean(), (digest, answer) => {
        expect(decodeMessage(encodeDigest(digest, answer))).toEqual({ kind: 'digest', answer, digest });
      }),
    );
    expect(
      encodeDigest(
        Array.from({ length: 200 }, (_, i) => [i, i] as const),
        true,
      ),
    ).toHaveLength(1202);
  });

  test('of a digest never grows too large', () => {
    const digest = Array.from({ length: MAX_DIGEST_ENTRIES + 5 }, (_, i) => [i, i] as const);
    const read = decodeMessage(encodeDigest(digest, false));
    expect(read).toEqual({ kind: 'digest', answer: false, digest: digest.slice(0, MAX_DIGEST_ENTRIES) });
  });

  test.each([
    ['empty', []],
    ['of an unknown kind', [9, 0, 0]],
    ['with no note in it', [1]],
    ['with a note that ends too early', [1, 0, 200, 1, 2, 3]],
    ['with a note that is too short to be one', [1, 0, 2, 7, 7]],
    ['with half a length', [1, 0]],
    ['with a short summary', [2, 1, 2, 3]],
    ['with a long summary', [2, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
    ['with a digest that ends within an entry', [3, 0, 0, 1, 0]],
    ['with a digest that asks for something strange', [3, 2]],
    ['with a digest of nothing at all', [3]],
    ['too large', [3, 0, ...Array.from({ length: MAX_MESSAGE_BYTES }, () => 0)]],
  ])('%s is refused', (_, bytes) => {
    expect(decodeMessage(Uint8Array.from(bytes))).toBeUndefined();
  });

  test('of arbitrary bytes never makes the decoders throw', () => {
    const kind = fc.integer({ min: 0, max: 4 });
    const bytes = fc.tuple(kind, fc.uint8Array({ maxLength: 400 })).map(([kind, rest]) => Uint8Array.of(kind, ...rest));
    fc.assert(
      fc.property(bytes, (message) => {
        const read = decodeMessage(message);
        const notes = read?.kind === 'notes' ? read.notes : [message];
        expect(notes.map(decodeNote).filter((note) => note && note.neighbours.length > MAX_NEIGHBOURS)).toEqual([]);
      }),
      { numRuns: 20_000 },
    );
  });

  test('that was changed in one place is refused or says something else, and never throws', () => {
    fc.assert(
      fc.property(body, fc.nat(), fc.integer({ min: 1, max: 255 }), (note, at, flip) => {
        const bytes = signed(note);
        bytes[at % bytes.length]! ^= flip;
        const read = decodeNote(bytes);
        const inBody = at % bytes.length < bytes.length - SIGNATURE_BYTES;
        expect(isDeepStrictEqual(read, note)).toBe(!inBody);
      }),
      { numRuns: 5000 },
    );
  });
});
