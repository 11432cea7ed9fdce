/** Cutting QEMU's stream: whatever the reads look like, the same whole frames come out, in order. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRunCutter, LONGEST_FRAME } from '../../../src/guest/runs.ts';

const framed = (length: number, fill = 0): Buffer => {
  const frame = Buffer.alloc(4 + length, fill);
  frame.writeUInt32BE(length);
  return frame;
};

/** Feeds pieces from one reused buffer, as the socket does, and copies what comes out. */
function cut(pieces: readonly Uint8Array[], mtu = 1500) {
  const runs: Buffer[] = [];
  const cutter = createRunCutter(mtu, (run) => runs.push(Buffer.from(run)));
  const shared = Buffer.alloc(Math.max(1, ...pieces.map(({ length }) => length)));
  const results = pieces.map((piece) => {
    shared.fill(0xee);
    shared.set(piece);
    return cutter.push(shared.subarray(0, piece.length));
  });
  return { runs, results, cutter };
}

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [0, ...cuts.map((value) => value % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
}

const frames = fc.array(fc.tuple(fc.integer({ min: 14, max: 1518 }), fc.integer({ min: 0, max: 255 })), {
  maxLength: 20,
});

describe('the run cutter', () => {
  it('passes every frame once, in order, however the stream is split', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.nat(40_000), { maxLength: 30 }), (list, cuts) => {
        const stream = Buffer.concat(list.map(([length, fill]) => framed(length, fill)));
        const { runs, results, cutter } = cut(split(stream, cuts));
        expect(Buffer.concat(runs).equals(stream)).toBe(true);
        expect(results.every(Boolean)).toBe(true);
        expect(cutter.refused).toBe(0);
        for (const run of runs) expect(wholeFrames(run)).toBe(true);
      }),
    );
  });

  it('leaves out frames that are too short or too long, and only those', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 3000 }), { maxLength: 20 }),
        fc.array(fc.nat(60_000), { maxLength: 20 }),
        (lengths, cuts) => {
          const stream = Buffer.concat(lengths.map((length) => framed(length, 7)));
          const good = lengths.filter((length) => length >= 14 && length <= 1518);
          const { runs, cutter } = cut(split(stream, cuts));
          expect(Buffer.concat(runs).equals(Buffer.concat(good.map((length) => framed(length, 7))))).toBe(true);
          expect(cutter.refused).toBe(lengths.length - good.length);
        },
      ),
    );
  });

  it('survives any bytes at all', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), (pieces) => {
        const { runs } = cut(pieces);
        for (const run of runs) expect(wholeFrames(run)).toBe(true);
      }),
    );
  });

  it.each([0, LONGEST_FRAME + 1, 0xffffffff])(
    'reports a broken stream at length %i, also when the header is split',
    (length) => {
      const header = Buffer.alloc(4);
      header.writeUInt32BE(length);
      const before = framed(60, 1);
      const whole = cut([Buffer.concat([before, header, Buffer.alloc(100)])]);
      expect([whole.results, whole.runs.length, whole.cutter.refused]).toEqual([[false], 1, 1]);
      const halves = cut([
        Buffer.concat([before, header.subarray(0, 2)]),
        Buffer.concat([header.subarray(2), Buffer.alloc(9)]),
      ]);
      expect([halves.results, halves.runs.length, halves.cutter.refused]).toEqual([[true, false], 1, 1]);
    },
  );

  it('carries the largest frame that QEMU sends, in two pieces', () => {
    const frame = framed(65_018, 3);
    expect(cut([frame.subarray(0, 40_000), frame.subarray(40_000)], 65_000).runs).toEqual([frame]);
  });
});

function wholeFrames(run: Buffer): boolean {
  let at = 0;
  while (at + 4 <= run.length) at += 4 + run.readUInt32BE(at);
  return at === run.length;
}
