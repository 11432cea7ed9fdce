/** Images on their way between peers, through hands that are not to be trusted. */
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { zstdCompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorCode } from '../../../src/base/errors.ts';
import type { StoredImage } from '../../../src/image/store.ts';
import { exportImage, importImage } from '../../../src/image/transfer.ts';
import { openTestStore, tinyImage, type TestStore } from '../../harness/tiny-image.ts';

let home: TestStore;
let image: StoredImage;
let stream: Buffer;
let largest: number;

beforeAll(async () => {
  home = await openTestStore();
  await using folder = await home.store.temporary();
  image = await home.store.add(await tinyImage(folder.path, randomBytes(200_000)), folder.path);
  const chunks: Uint8Array[] = [];
  for await (const chunk of exportImage(home.store, image.ref.hash)) chunks.push(chunk);
  largest = Math.max(...chunks.map(({ length }) => length));
  stream = Buffer.concat(chunks);
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

async function* pieces(bytes: Uint8Array, size = 10_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** What becomes of a stream in a fresh store: the code of the refusal or `stored`, and what the store holds afterwards. */
async function attempt(source: AsyncIterable<Uint8Array>, ref = image.ref, maxBytes = 1e6) {
  await using away = await openTestStore();
  const outcome = await importImage(away.store, ref, source, { maxBytes }).then(() => 'stored', errorCode);
  return { outcome, left: await readdir(away.store.folder) };
}

const framed = (manifest: string, ...rest: Buffer[]): Buffer => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(Buffer.byteLength(manifest));
  return zstdCompressSync(Buffer.concat([Buffer.from('KITHIMG1'), length, Buffer.from(manifest), ...rest]));
};

describe('an image on its way', () => {
  it('travels in chunks that fit a message', () => {
    expect(largest).toBeLessThanOrEqual(65_536);
  });

  it('arrives as it was, and says how far it is', async () => {
    await using away = await openTestStore();
    const progress: number[] = [];
    const options = { maxBytes: 1e6, onProgress: (done: number, total: number) => progress.push(done / total) };
    const arrived = await importImage(away.store, image.ref, pieces(stream), options);
    expect(arrived.manifest).toEqual(image.manifest);
    await away.store.verify(image.ref.hash);
    expect(progress.at(-1)).toBe(1);
    expect(progress).toEqual(progress.toSorted((a, b) => a - b));
    expect(await readdir(away.store.folder)).toEqual([image.ref.hash]);
  });

  it('is not fetched when it is there already', async () => {
    const never: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => {
        throw new Error('asked for');
      },
    };
    expect((await importImage(home.store, image.ref, never, { maxBytes: 1e6 })).ref).toEqual(image.ref);
  });

  it('is refused wherever it is cut off', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(stream.length - 1), async (end) => {
        expect(await attempt(pieces(stream.subarray(0, end)))).toEqual({ outcome: 'image.truncated', left: [] });
      }),
      { numRuns: 25 },
    );
  });

  it('is refused whichever bit is flipped', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(stream.length - 1), fc.nat(7), async (at, bit) => {
        const copy = Buffer.from(stream);
        copy[at] = (copy[at] ?? 0) ^ (1 << bit);
        const { outcome, left } = await attempt(pieces(copy));
        // A bit that zstd does not look at (its frame header has spare ones) changes nothing: then it is the same image.
        expect(left).toEqual(outcome === 'stored' ? [image.ref.hash] : []);
        expect(['stored', 'image.hash-mismatch', 'image.garbled', 'image.truncated', 'image.manifest']).toContain(
          outcome,
        );
      }),
      { numRuns: 40 },
    );
  });

  it('is refused when it is another image than promised', async () => {
    expect(await attempt(pieces(stream), { ...image.ref, hash: 'f'.repeat(64) })).toEqual({
      outcome: 'image.hash-mismatch',
      left: [],
    });
  });

  it('is refused when it has another size than promised, or more than this host takes', async () => {
    expect(await attempt(pieces(stream), { ...image.ref, bytes: image.ref.bytes - 1 })).toEqual({
      outcome: 'image.garbled',
      left: [],
    });
    expect(await attempt(pieces(stream), image.ref, 1000)).toEqual({ outcome: 'image.too-large', left: [] });
  });

  it.each([
    ['nothing', Buffer.alloc(0), 'image.truncated'],
    ['noise', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'image.garbled'],
    ['another stream', zstdCompressSync(Buffer.alloc(1000)), 'image.garbled'],
    [
      'a manifest that claims gigabytes',
      zstdCompressSync(Buffer.from('KITHIMG1\xff\xff\xff\xff', 'latin1')),
      'image.garbled',
    ],
    ['a manifest that is none', framed('{"name":"tiny"}'), 'image.manifest'],
    ['a manifest that is not JSON', framed('nonsense'), 'image.manifest'],
  ])('refuses %s', async (_, bytes, outcome) => {
    expect(await attempt(pieces(bytes))).toEqual({ outcome, left: [] });
  });

  it('refuses what comes after the last file', async () => {
    const { canonicalJson } = await import('../../../src/image/manifest.ts');
    const { readFile } = await import('node:fs/promises');
    const files = [await readFile(image.kernel), await readFile(image.initrd ?? '')];
    const text = canonicalJson(image.manifest);
    expect(await attempt(pieces(framed(text, ...files)))).toMatchObject({ outcome: 'stored' });
    expect(await attempt(pieces(framed(text, ...files, Buffer.from('x'))))).toEqual({
      outcome: 'image.garbled',
      left: [],
    });
  });

  it('does not unpack a bomb further than the file that it claims to be', async () => {
    const { canonicalJson } = await import('../../../src/image/manifest.ts');
    const bomb = framed(canonicalJson(image.manifest), Buffer.alloc(100_000_000));
    expect(bomb.length).toBeLessThan(20_000);
    await using away = await openTestStore();
    let most = 0;
    const options = { maxBytes: 1e6, onProgress: (done: number) => (most = Math.max(most, done)) };
    expect(await importImage(away.store, image.ref, pieces(bomb), options).catch(errorCode)).toBe(
      'image.hash-mismatch',
    );
    expect(most).toBe(image.manifest.kernel.bytes);
    expect(await readdir(away.store.folder)).toEqual([]);
  });

  it('does not listen for ever to padding', async () => {
    const empty = zstdCompressSync(Buffer.alloc(0));
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) yield empty;
    }
    expect(await attempt(endless())).toEqual({ outcome: 'image.garbled', left: [] });
  });

  it('leaves nothing when the sender breaks off with an error, or the receiver changes its mind', async () => {
    const broken = (async function* (): AsyncGenerator<Uint8Array> {
      yield stream.subarray(0, 50_000);
      throw new Error('wire cut');
    })();
    expect((await attempt(broken)).left).toEqual([]);
    await using away = await openTestStore();
    const controller = new AbortController();
    const endless = (async function* (): AsyncGenerator<Uint8Array> {
      yield stream.subarray(0, 50_000);
      controller.abort(new Error('enough'));
      await new Promise((resolve) => setTimeout(resolve, 1 << 30).unref());
    })();
    await expect(
      importImage(away.store, image.ref, endless, { maxBytes: 1e6, signal: controller.signal }),
    ).rejects.toThrow('enough');
    expect(await readdir(away.store.folder)).toEqual([]);
  });

  it('cannot be exported when it is not there', async () => {
    await expect(exportImage(home.store, '0'.repeat(64)).next()).rejects.toMatchObject({ code: 'image.unknown' });
  });
});
