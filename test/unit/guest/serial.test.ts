/** The console's ring: offsets that never change, memory that never grows. */
import { duplexPair } from 'node:stream';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLineReader } from '../../../src/guest/lines.ts';
import { createSerialLog, openSerial } from '../../../src/guest/serial.ts';

describe('the serial log', () => {
  it('gives back what was written, by absolute offset, as far as it is kept', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 }),
        fc.integer({ min: -5, max: 300 }),
        fc.integer({ min: -5, max: 300 }),
        (chunks, offset, max) => {
          const log = createSerialLog(32);
          for (const chunk of chunks) log.append(chunk);
          const all = Buffer.concat(chunks);
          const from = Math.min(Math.max(offset, 0, all.length - 32), all.length);
          const page = log.read(offset, max);
          expect([page.offset, page.total]).toEqual([from, all.length]);
          expect(page.data.equals(all.subarray(from, from + Math.max(0, max)))).toBe(true);
        },
      ),
    );
  });

  it('answers nonsense offsets with what there is', () => {
    const log = createSerialLog(32);
    log.append(Buffer.from('abc'));
    expect(log.read(Number.NaN, Number.NaN)).toEqual({ data: Buffer.alloc(0), offset: 0, total: 3 });
    expect(log.read(Number.MAX_SAFE_INTEGER, 10).data).toHaveLength(0);
    expect(log.read(0, Infinity).data.toString()).toBe('abc');
  });
});

describe('the console', () => {
  it('shows a watcher a phrase that two reads have split, once', async () => {
    const [ours, theirs] = duplexPair();
    const serial = openSerial(ours);
    let calls = 0;
    const seen = new Promise<void>((resolve) => {
      serial.watch((text) => {
        calls++;
        if (!text.includes('kith: ready')) return false;
        resolve();
        return true;
      });
    });
    theirs.write('boot\nkith: re');
    theirs.write('ady\n');
    await seen;
    theirs.write('more\n');
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toBe(3);
  });

  it('refuses to type when the guest takes nothing', () => {
    const [ours, theirs] = duplexPair();
    const serial = openSerial(ours);
    theirs.pause();
    expect(serial.type(Buffer.from('ls\n'))).toBe(true);
    expect(serial.type(Buffer.alloc(100_000))).toBe(false);
    ours.destroy();
    expect(serial.type(Buffer.from('ls\n'))).toBe(false);
  });
});

describe('the line reader', () => {
  it('gives the same lines however the bytes come', () => {
    fc.assert(
      fc.property(
        fc.array(fc.stringMatching(/^[a-z]{1,20}$/), { maxLength: 10 }),
        fc.array(fc.nat(200), { maxLength: 10 }),
        (words, cuts) => {
          const bytes = Buffer.from(words.map((word) => `${word}\n`).join(''));
          const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
          const lines: string[] = [];
          const reader = createLineReader(100, (line) => lines.push(line));
          for (let index = 1; index < at.length; index++)
            expect(reader.push(bytes.subarray(at[index - 1], at[index]))).toBe(true);
          expect(lines).toEqual(words);
        },
      ),
    );
  });

  it('says when a line is too long, with and without its end', () => {
    const reader = createLineReader(10, () => {});
    expect(reader.push(Buffer.from('0123456789\n'))).toBe(true);
    expect(reader.push(Buffer.from('01234567890\n'))).toBe(false);
    expect(reader.push(Buffer.from('0123456789'))).toBe(true);
    expect(reader.push(Buffer.from('0'))).toBe(false);
  });

  it('throws away what precedes the marker, also across reads', () => {
    const lines: string[] = [];
    const reader = createLineReader(100, (line) => lines.push(line), 0xff);
    reader.push(Buffer.from('half a li'));
    reader.push(Buffer.concat([Buffer.from('ne\nmore'), Buffer.from([0xff]), Buffer.from('clean\n')]));
    expect(lines).toEqual(['clean']);
  });
});
