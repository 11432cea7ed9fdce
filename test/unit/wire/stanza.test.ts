/** The stanza wire: the contract, gathering while the server holds us back, and payloads that nobody of ours sends. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { MAX_STANZA_FRAMES_BYTES } from '../../../src/protocol/limits.ts';
import { openStanza } from '../../../src/wire/stanza.ts';
import { wireContract } from '../../contract/wire.ts';
import { fakeChannelPair } from '../../harness/frame-channel.ts';
import { createInbox } from '../../harness/inbox.ts';

const pairOf = (onBatch: readonly [(b: Uint8Array) => void, (b: Uint8Array) => void], maxQueuedBytes?: number) => {
  const [left, right] = fakeChannelPair();
  const more = { log: silentLog, ...(maxQueuedBytes === undefined ? {} : { maxQueuedBytes }) };
  const a = openStanza({ peer: 'b', link: 'one', channel: left, onBatch: onBatch[0], ...more });
  const b = openStanza({ peer: 'a', link: 'one', channel: right, onBatch: onBatch[1], ...more });
  return { left, right, a, b };
};

// An honest server is always ready here; a burst against one that is not is the next test.
wireContract('stanza', async (onBatch) => {
  const { a, b, left } = pairOf(onBatch);
  // As with a real server: ready once per turn of the event loop.
  let budget = 200;
  const ready = left.ready.bind(left);
  left.ready = (to) => ready(to) && budget-- > 0;
  return [a, b];
});

describe('while the server holds us back', () => {
  test('batches gather, and share as few payloads as they fit into', async () => {
    const inbox = createInbox();
    const { a, left } = pairOf([() => {}, inbox.take]);
    left.open(false);
    for (let i = 0; i < 20; i++) a.send(new Uint8Array(1000).fill(i));
    expect(left.sent).toHaveLength(0);
    left.open(true);
    expect(left.sent.map(({ length }) => length)).toEqual([11 * 1002, 9 * 1002]);
    expect((await inbox.until(20)).map((batch) => batch[0])).toEqual(Array.from({ length: 20 }, (_, i) => i));
  });

  test('the oldest batches go first overboard, and are counted', async () => {
    const inbox = createInbox();
    const { a, left } = pairOf([() => {}, inbox.take], 5 * 102);
    left.open(false);
    for (let i = 0; i < 8; i++) expect(a.send(new Uint8Array(100).fill(i))).toBe(true);
    expect(a.stats().drops).toBe(3);
    left.open(true);
    expect((await inbox.until(5)).map((batch) => batch[0])).toEqual([3, 4, 5, 6, 7]);
  });

  test('what waits is a copy, of a Buffer too', async () => {
    const inbox = createInbox();
    const { a, left } = pairOf([() => {}, inbox.take]);
    left.open(false);
    const pooled = Buffer.alloc(50, 3);
    a.send(pooled);
    pooled.fill(4);
    left.open(true);
    expect(await inbox.until(1)).toEqual([new Uint8Array(50).fill(3)]);
  });

  test('a payload that was refused is offered again, in order', async () => {
    const inbox = createInbox();
    const { a, left } = pairOf([() => {}, inbox.take]);
    left.refuse(true);
    a.send(Uint8Array.of(1));
    a.send(Uint8Array.of(2));
    left.refuse(false);
    left.open(true);
    expect(await inbox.until(2)).toEqual([Uint8Array.of(1), Uint8Array.of(2)]);
  });

  test('a channel that asks for more while it takes a payload is not given the same one again', async () => {
    const inbox = createInbox();
    const { a, left } = pairOf([() => {}, inbox.take]);
    const send = left.send.bind(left);
    left.send = (to, link, payload) => {
      const taken = send(to, link, payload);
      left.open(true); // as the pump of a real session does
      return taken;
    };
    for (const byte of [1, 2, 3]) a.send(Uint8Array.of(byte));
    await a[Symbol.asyncDispose]();
    expect(await inbox.until(3)).toEqual([Uint8Array.of(1), Uint8Array.of(2), Uint8Array.of(3)]);
    expect(left.sent).toHaveLength(4); // the last is the goodbye
  });

  test('smaller payloads are made where the line is slow, and a large batch is cut for them', async () => {
    const inbox = createInbox();
    const [left, right] = fakeChannelPair();
    const a = openStanza({
      peer: 'b',
      link: 'one',
      channel: Object.assign(left, { maxPayload: 2000 }),
      onBatch: () => {},
      log: silentLog,
    });
    openStanza({ peer: 'a', link: 'one', channel: right, onBatch: inbox.take, log: silentLog });
    left.open(false);
    for (const length of [900, 900, 900, 5000]) a.send(new Uint8Array(length));
    left.open(true);
    expect(left.sent.map(({ length }) => length)).toEqual([1804, 2000, 2000, 1914]);
    expect((await inbox.until(4)).map(({ length }) => length)).toEqual([900, 900, 900, 5000]);
  });
});

describe('payloads of a hostile peer', () => {
  test.each([
    ['cut in the length', [0]],
    ['cut in the batch', [0, 5, 1, 2]],
    ['with an empty batch', [0, 0, 0, 1, 9]],
  ])('%s: refused and counted', (_, bytes) => {
    const inbox = createInbox();
    const { a, left } = pairOf([inbox.take, () => {}]);
    left.deliver('b', 'one', Uint8Array.from(bytes));
    expect(inbox.items).toEqual([]);
    expect(a.stats().drops).toBe(1);
  });

  test('larger than the protocol allows: refused unread', () => {
    const inbox = createInbox();
    const { a, left } = pairOf([inbox.take, () => {}]);
    const payload = new Uint8Array(MAX_STANZA_FRAMES_BYTES + 1);
    payload.set([0, 1]);
    left.deliver('b', 'one', payload);
    expect(inbox.items).toEqual([]);
    expect(a.stats()).toEqual({ sentBytes: 0, receivedBytes: 0, drops: 1, queuedBytes: 0 });
  });

  test('of any bytes: no error, and never more out than came in', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), (bytes) => {
        const inbox = createInbox();
        const { left } = pairOf([inbox.take, () => {}]);
        left.deliver('b', 'one', bytes);
        const out = inbox.items.reduce((sum, batch) => sum + 2 + batch.length, 0);
        expect(out).toBeLessThanOrEqual(bytes.length);
      }),
    );
  });
});

test('a closed wire listens to nobody', async () => {
  const { a, left } = pairOf([() => {}, () => {}]);
  expect(left.listeners).toBe(2);
  await a[Symbol.asyncDispose]();
  expect(left.listeners).toBe(0);
});

test('two wires between the same peers do not hear each other, and end one by one', async () => {
  const [left, right] = fakeChannelPair();
  const inboxes = [createInbox(), createInbox()] as const;
  const open = (link: string, take: (batch: Uint8Array) => void) => ({
    a: openStanza({ peer: 'b', link, channel: left, onBatch: () => {}, log: silentLog }),
    b: openStanza({ peer: 'a', link, channel: right, onBatch: take, log: silentLog }),
  });
  const one = open('one', inboxes[0].take);
  const two = open('two', inboxes[1].take);
  one.a.send(Uint8Array.of(1));
  two.a.send(Uint8Array.of(2));
  expect([await inboxes[0].until(1), await inboxes[1].until(1)]).toEqual([[Uint8Array.of(1)], [Uint8Array.of(2)]]);
  await two.a[Symbol.asyncDispose]();
  expect(await two.b.closed).toBe('closed by the peer');
  one.a.send(Uint8Array.of(3));
  expect(await inboxes[0].until(2)).toEqual([Uint8Array.of(1), Uint8Array.of(3)]);
});

test('an end that was closed by the peer says no goodbye: two ends never close each other in turn', async () => {
  const { a, b, right } = pairOf([() => {}, () => {}]);
  await a[Symbol.asyncDispose]();
  await b.closed;
  await b[Symbol.asyncDispose]();
  expect(right.sent).toEqual([]);
});
