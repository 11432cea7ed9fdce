/** Image bytes over real data channels on loopback: whole, in order, within a window. */
import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { openBlob, type Blob } from '../../../src/wire/blob.ts';
import { connectRtc } from '../../../src/wire/rtc.ts';
import { createInbox } from '../../harness/inbox.ts';
import { signalPair } from '../../harness/signals.ts';

const common = { bindAddress: '127.0.0.1', log: silentLog };
const nobody = () => {};

const pipesOf = () => {
  const signals = signalPair();
  return {
    a: signals.a.pipe({ peer: 'b', channel: 'blob:1', offer: true }),
    b: signals.b.pipe({ peer: 'a', channel: 'blob:1', offer: false }),
  };
};

async function blobPair(signal?: AbortSignal): Promise<[Blob, Blob]> {
  const pipes = pipesOf();
  const more = signal ? { signal } : {};
  return Promise.all([
    openBlob({ ...common, offer: true, pipe: pipes.a }),
    openBlob({ ...common, offer: false, pipe: pipes.b, ...more }),
  ]);
}

async function readAll(blob: Blob): Promise<{ bytes: number; hash: string }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of blob.chunks) {
    bytes += chunk.length;
    hash.update(chunk);
  }
  return { bytes, hash: hash.digest('hex') };
}

describe('a blob', () => {
  test('arrives whole and in order, whatever the sizes of its chunks', async () => {
    const [a, b] = await blobPair();
    await using _ = a;
    await using __ = b;
    const reading = readAll(b);
    const hash = createHash('sha256');
    let bytes = 0;
    for (const size of [1, 65_535, 65_536, 0, 1_000_003, 17, 4_194_304, 8_000_000]) {
      const chunk = randomBytes(size);
      hash.update(chunk);
      bytes += size;
      const sending = a.send(chunk);
      await sending;
      chunk.fill(0); // ours again
    }
    await a.end();
    expect(await reading).toEqual({ bytes, hash: hash.digest('hex') });
  });

  test('goes both ways at once', async () => {
    const [a, b] = await blobPair();
    await using _ = a;
    await using __ = b;
    const pump = async (blob: Blob) => {
      for (let i = 0; i < 20; i++) await blob.send(new Uint8Array(500_000));
      await blob.end();
    };
    const [atA, atB] = await Promise.all([readAll(a), readAll(b), pump(a), pump(b)]);
    expect([atA.bytes, atB.bytes]).toEqual([10_000_000, 10_000_000]);
  });

  test('waits for its reader: a window leaves the sender, then what it is granted', async () => {
    // 4 MiB at 65,535 bytes and 256 of overhead per piece.
    const WINDOW_PIECES = 63;
    const pipes = pipesOf();
    const pieces = createInbox();
    const [blob, reader] = await Promise.all([
      openBlob({ ...common, offer: true, pipe: pipes.a }),
      connectRtc({ ...common, offer: false, pipe: pipes.b }, { onMessage: pieces.take }),
    ]);
    await using _ = blob;
    await using __ = reader;
    const back = blob.chunks[Symbol.asyncIterator]();
    const sending = blob.send(new Uint8Array(8 << 20));
    sending.catch(nobody);
    /** Trips through the channel: time enough for a sender that does not wait. */
    const trips = async () => {
      for (let i = 0; i < 50; i++) {
        reader.send(Uint8Array.of(0, i));
        await back.next();
      }
    };
    await pieces.until(WINDOW_PIECES);
    await trips();
    expect(pieces.items).toHaveLength(WINDOW_PIECES);
    reader.send(Uint8Array.of(1, 0, 2, 0x01, 0xfe)); // two pieces more
    await pieces.until(WINDOW_PIECES + 2);
    await trips();
    expect(pieces.items).toHaveLength(WINDOW_PIECES + 2);
  });

  test('200 MB pass with bounded memory', async () => {
    const [a, b] = await blobPair();
    await using _ = a;
    await using __ = b;
    const chunk = new Uint8Array(1 << 20);
    const before = process.memoryUsage.rss();
    let peak = 0;
    const reading = (async () => {
      let bytes = 0;
      for await (const piece of b.chunks) {
        bytes += piece.length;
        peak = Math.max(peak, process.memoryUsage.rss());
      }
      return bytes;
    })();
    for (let i = 0; i < 200; i++) await a.send(chunk);
    await a.end();
    expect(await reading).toBe(200 << 20);
    // Both ends are in this process: two windows, what the library holds, and garbage that V8 has not collected yet.
    expect((peak - before) >> 20).toBeLessThan(120);
  });

  test('that ends at once is empty', async () => {
    const [a, b] = await blobPair();
    const [read] = await Promise.all([readAll(b), a.end()]);
    expect(read.bytes).toBe(0);
    await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose]()]);
  });

  test('a reader that is done may close at once: the sender still hears that all was read', async () => {
    const [a, b] = await blobPair();
    const reading = (async () => {
      await using reader = b;
      return (await readAll(reader)).bytes;
    })();
    await a.send(new Uint8Array(3_000_000));
    await a.end();
    await a[Symbol.asyncDispose]();
    expect(await reading).toBe(3_000_000);
  });

  test('a reader that is done lets the sender close first, so that its last word arrives', async () => {
    const [a, b] = await blobPair();
    const order: string[] = [];
    const reader = (async () => {
      await readAll(b);
      await b[Symbol.asyncDispose]();
      order.push('reader');
    })();
    await a.end();
    order.push('sender');
    await a[Symbol.asyncDispose]();
    await reader;
    expect(order).toEqual(['sender', 'reader']);
  });

  test('cut short is an error at both ends, never a short file', async () => {
    const [a, b] = await blobPair();
    const reading = readAll(b);
    await a.send(new Uint8Array(100_000));
    await a[Symbol.asyncDispose]();
    await expect(reading).rejects.toMatchObject({ code: 'wire.blob-cut' });
    await expect(a.send(new Uint8Array(1))).rejects.toMatchObject({ code: 'wire.blob-cut' });
    await expect(a.end()).rejects.toMatchObject({ code: 'wire.blob-cut' });
    await expect(b.end()).rejects.toMatchObject({ code: 'wire.blob-cut' });
    await b[Symbol.asyncDispose]();
  });

  test('an abort ends a transfer that is under way', async () => {
    const controller = new AbortController();
    const [a, b] = await blobPair(controller.signal);
    const reading = readAll(b);
    controller.abort();
    await expect(reading).rejects.toMatchObject({ code: 'wire.blob-cut' });
    expect(await a.closed).toBe('closed by the peer');
    await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose]()]);
  });
});

describe('a hostile sender', () => {
  async function hostile() {
    const pipes = pipesOf();
    return Promise.all([
      connectRtc({ ...common, offer: true, pipe: pipes.a }, { onMessage: nobody }),
      openBlob({ ...common, offer: false, pipe: pipes.b }),
    ]);
  }
  const DATA = 0;

  test.each([
    ['that sends more than it was granted', () => new Uint8Array(65_536).fill(DATA), 80, 'more than it was granted'],
    ['that sends a million tiny pieces', () => Uint8Array.of(DATA, 1), 20_000, 'more than it was granted'],
    ['that sends a million empty pieces', () => Uint8Array.of(DATA), 20_000, 'more than it was granted'],
    ['that sends what is no message', () => Uint8Array.of(99), 1, 'not a blob message'],
    ['that sends nothing at all', () => new Uint8Array(0), 1, 'not a blob message'],
  ])('%s is cut off', async (_, message, times, why) => {
    const [evil, blob] = await hostile();
    for (let i = 0; i < times; i++) evil.send(message());
    expect(await blob.closed).toContain(why);
    await expect(readAll(blob)).rejects.toMatchObject({ code: 'wire.blob-cut' });
    await Promise.all([evil[Symbol.asyncDispose](), blob[Symbol.asyncDispose]()]);
  });

  test('data after the end is cut off too', async () => {
    const [evil, blob] = await hostile();
    evil.send(Uint8Array.of(2));
    evil.send(Uint8Array.of(DATA, 1));
    expect(await blob.closed).toContain('more than it was granted');
    await Promise.all([evil[Symbol.asyncDispose](), blob[Symbol.asyncDispose]()]);
  });
});
