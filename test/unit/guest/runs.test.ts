/** Cutting QEMU's stream: whatever the reads look like, the same whole frames come out, in order. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRunReader } from '../../../src/guest/runs.ts';
import { MAX_FRAME_BYTES } from '../../../src/net/batch.ts';

const framed = (length: number, fill = 0): Buffer => {
  const frame = Buffer.alloc(4 + length, fill);
  frame.writeUInt32BE(length);
  return frame;
};

/** Feeds pieces as the socket does, and copies what comes out. What may be written to is written to, as the switch does. */
function cut(pieces: readonly Uint8Array[], mtu = 1500) {
  const runs: Buffer[] = [];
  const reader = createRunReader(mtu, (run, headroom = 0) => {
    runs.push(Buffer.from(run));
    new Uint8Array(run.buffer, run.byteOffset - headroom, headroom + run.length).fill(0xee);
  });
  const push = (piece: Uint8Array): boolean => {
    for (let at = 0; at < piece.length;) {
      const room = reader.room();
      const part = piece.subarray(at, at + room.length);
      room.set(part);
      if (!reader.arrived(part.length)) return false;
      at += part.length;
    }
    return true;
  };
  return { runs, results: pieces.map(push), reader };
}

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [0, ...cuts.map((value) => value % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
}

const frames = fc.array(fc.tuple(fc.integer({ min: 14, max: 1518 }), fc.integer({ min: 0, max: 255 })), {
  maxLength: 20,
});

describe('the run reader', () => {
  it('passes every frame once, in order, however the stream is split', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.nat(40_000), { maxLength: 30 }), (list, cuts) => {
        const stream = Buffer.concat(list.map(([length, fill]) => framed(length, fill)));
        const { runs, results, reader } = cut(split(stream, cuts));
        expect(Buffer.concat(runs).equals(stream)).toBe(true);
        expect(results.every(Boolean)).toBe(true);
        expect(reader.refused).toBe(0);
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
          const { runs, reader } = cut(split(stream, cuts));
          expect(Buffer.concat(runs).equals(Buffer.concat(good.map((length) => framed(length, 7))))).toBe(true);
          expect(reader.refused).toBe(lengths.length - good.length);
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

  it.each([0, MAX_FRAME_BYTES + 1, 0xffffffff])(
    'reports a broken stream at length %i, also when the header is split',
    (length) => {
      const header = Buffer.alloc(4);
      header.writeUInt32BE(length);
      const before = framed(60, 1);
      const whole = cut([Buffer.concat([before, header, Buffer.alloc(100)])]);
      expect([whole.results, whole.runs.length, whole.reader.refused]).toEqual([[false], 1, 1]);
      const halves = cut([
        Buffer.concat([before, header.subarray(0, 2)]),
        Buffer.concat([header.subarray(2), Buffer.alloc(9)]),
      ]);
      expect([halves.results, halves.runs.length, halves.reader.refused]).toEqual([[true, false], 1, 1]);
    },
  );

  it('promises room for a header in front of each run, and nothing of a frame that is still to come', () => {
    const stream = Buffer.concat([framed(60, 1), framed(5, 2), framed(61, 3), framed(62, 4)]);
    const { runs } = cut([stream.subarray(0, 150), stream.subarray(150)]);
    expect(runs).toEqual([framed(60, 1), framed(61, 3), framed(62, 4)]);
  });

  it('needs no more memory for a stream without end', () => {
    let total = 0;
    let memory: ArrayBufferLike | undefined;
    const reader = createRunReader(65_000, (run) => {
      total += run.length;
      memory ??= run.buffer;
      expect(run.buffer).toBe(memory);
    });
    const stream = Buffer.concat(Array.from({ length: 50 }, (_, i) => framed(1 + ((i * 7919) % 65_018), i)));
    const sent = 40 * stream.length;
    for (let done = 0; done < sent;) {
      const room = reader.room();
      const count = Math.min(room.length, 50_001, sent - done, stream.length - (done % stream.length));
      room.set(stream.subarray(done % stream.length, (done % stream.length) + count));
      expect(reader.arrived(count)).toBe(true);
      done += count;
    }
    expect(total + reader.refused * 4).toBeGreaterThan(sent * 0.99);
  });

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
