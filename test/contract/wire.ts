/** What every wire owes to the switch. Run over memory, stanza, webrtc and direct. */
import { describe, expect, test } from 'vitest';
import type { BatchHandler, Wire } from '../../src/net/wire.ts';
import { createInbox } from '../harness/inbox.ts';

export type OpenPair = (onBatch: readonly [BatchHandler, BatchHandler]) => Promise<readonly [Wire, Wire]>;

const batchOf = (length: number, fill: number) => new Uint8Array(length).fill(fill);

export function wireContract(name: string, openPair: OpenPair): void {
  const open = async () => {
    const inboxes = [createInbox(), createInbox()] as const;
    const [a, b] = await openPair([inboxes[0].take, inboxes[1].take]);
    return { a, b, atA: inboxes[0], atB: inboxes[1] };
  };

  describe(`${name} is a wire`, () => {
    test('batches of all sizes arrive whole and in order, in both directions', async () => {
      const { a, b, atA, atB } = await open();
      await using _ = a;
      await using __ = b;
      const sizes = [16, 17, 60, 1514, 4000, a.maxBatch, 16];
      // One after the other, so that a small queue need not hold them all.
      for (const [i, size] of sizes.entries()) {
        expect(a.send(batchOf(size, i))).toBe(true);
        expect(b.send(batchOf(size, 100 + i))).toBe(true);
        await Promise.all([atA.until(i + 1), atB.until(i + 1)]);
      }
      expect(atB.items).toEqual(sizes.map((size, i) => batchOf(size, i)));
      expect(atA.items).toEqual(sizes.map((size, i) => batchOf(size, 100 + i)));
    });

    test('a burst keeps its order', async () => {
      const { a, b, atB } = await open();
      await using _ = a;
      await using __ = b;
      for (let i = 0; i < 100; i++) expect(a.send(batchOf(100 + i, i))).toBe(true);
      expect((await atB.until(100)).map((batch) => [batch.length, batch[0]])).toEqual(
        Array.from({ length: 100 }, (_, i) => [100 + i, i]),
      );
    });

    test('the sender may use its buffer again at once', async () => {
      const { a, b, atB } = await open();
      await using _ = a;
      await using __ = b;
      const buffer = batchOf(500, 1);
      a.send(buffer.subarray(100, 300));
      buffer.fill(2);
      // A Buffer too, whose slice() copies nothing.
      const pooled = Buffer.alloc(200, 3);
      a.send(pooled);
      pooled.fill(4);
      expect(await atB.until(2)).toEqual([batchOf(200, 1), batchOf(200, 3)]);
    });

    test('bytes are counted on both ends', async () => {
      const { a, b, atB } = await open();
      await using _ = a;
      await using __ = b;
      a.send(batchOf(100, 1));
      a.send(batchOf(200, 2));
      await atB.until(2);
      expect(a.stats()).toMatchObject({ sentBytes: 300, receivedBytes: 0, drops: 0 });
      expect(b.stats()).toMatchObject({ sentBytes: 0, receivedBytes: 300, drops: 0 });
    });

    test('a batch that is too large is refused and counted, the next one travels', async () => {
      const { a, b, atB } = await open();
      await using _ = a;
      await using __ = b;
      expect(a.send(batchOf(a.maxBatch + 1, 1))).toBe(false);
      expect(a.stats()).toMatchObject({ sentBytes: 0, drops: 1 });
      a.send(batchOf(20, 7));
      expect(await atB.until(1)).toEqual([batchOf(20, 7)]);
    });

    test('closing one end ends both, whichever it is', async () => {
      for (const first of [0, 1] as const) {
        const { a, b } = await open();
        const [near, far] = first === 0 ? [a, b] : [b, a];
        await near[Symbol.asyncDispose]();
        expect(await near.closed).toBe('closed by us');
        expect(await far.closed).toBe('closed by the peer');
        for (const wire of [near, far]) {
          expect(wire.send(batchOf(16, 1))).toBe(false);
          expect(wire.stats().drops).toBe(1);
        }
        await far[Symbol.asyncDispose]();
      }
    });

    test('disposing twice, or both at a time, is no event', async () => {
      const { a, b } = await open();
      await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose](), a[Symbol.asyncDispose]()]);
      await a[Symbol.asyncDispose]();
      expect(await a.closed).toMatch(/^closed by/);
    });

    test('nothing arrives at an end that was closed', async () => {
      const { a, b, atB } = await open();
      a.send(batchOf(16, 1));
      await b[Symbol.asyncDispose]();
      const before = atB.items.length;
      a.send(batchOf(16, 2));
      await a.closed;
      expect(atB.items).toHaveLength(before);
      await a[Symbol.asyncDispose]();
    });

    test('floods of batches are refused, not hoarded, and counted', async () => {
      const { a, b } = await open();
      await using _ = a;
      await using __ = b;
      const batch = batchOf(Math.min(a.maxBatch, 65_536), 1);
      let refused = 0;
      // All in one turn of the event loop: no reader can keep up.
      for (let bytes = 0; bytes < 64 * 2 ** 20; bytes += batch.length) if (!a.send(batch)) refused++;
      expect(a.stats().drops).toBeGreaterThan(0);
      expect(a.stats().drops).toBeGreaterThanOrEqual(refused);
    });
  });
}
