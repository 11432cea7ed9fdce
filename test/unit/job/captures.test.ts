/** Captures of a peer: read in pieces, bounded, ended with their lease or when nobody reads. */
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createCaptures } from '../../../src/job/captures.ts';
import { encodeRun } from '../../../src/net/batch.ts';
import { packetEnds } from '../../../src/net/pcapng.ts';
import { createTap } from '../../../src/net/tap.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const RUN = encodeRun([new Uint8Array(60), new Uint8Array(60)]);
const PAGE = 24_576;

function world() {
  const clock = virtualClock();
  return { clock, tap: createTap(), captures: createCaptures(clock) };
}

test('a read waits for the first frame, and a moment for those that come with it', async () => {
  const { clock, tap, captures } = world();
  const id = captures.open('lease', tap, 100);
  const read = captures.read('lease', id, PAGE);
  await turn();
  tap.see(RUN, 'inbound');
  await turn();
  clock.advance(50);
  tap.see(RUN, 'inbound');
  clock.advance(50);
  const { blocks, received } = await read;
  expect([packetEnds(blocks, 100).length, received]).toEqual([4, 4]);
});

test('a full page does not wait', async () => {
  const { tap, captures } = world();
  const id = captures.open('lease', tap, 100);
  for (let i = 0; i < 200; i++) tap.see(RUN, 'inbound');
  const { blocks } = await captures.read('lease', id, PAGE);
  expect(packetEnds(blocks, 100).length).toBe(Math.floor(PAGE / 104));
});

test('a read of silence ends empty', async () => {
  const { clock, tap, captures } = world();
  const id = captures.open('lease', tap, 100);
  const read = captures.read('lease', id, PAGE);
  await turn();
  clock.advance(5000);
  await turn();
  clock.advance(100);
  expect(await read).toMatchObject({ received: 0, dropped: 0, blocks: new Uint8Array(0) });
});

test('nobody reads or ends the capture of another lease', async () => {
  const { tap, captures } = world();
  const id = captures.open('lease', tap, 100);
  await expect(captures.read('other', id, PAGE)).rejects.toThrow(/has ended/);
  expect(() => captures.close('other', id)).toThrow(/has ended/);
});

test('the end of a lease ends its captures, and a read that waits', async () => {
  const { tap, captures } = world();
  const id = captures.open('lease', tap, 100);
  const other = captures.open('other', tap, 100);
  const read = captures.read('lease', id, PAGE);
  await turn();
  captures.drop('lease');
  expect((await read).blocks).toHaveLength(0);
  await expect(captures.read('lease', id, PAGE)).rejects.toMatchObject({ code: 'capture.ended' });
  captures.close('other', other);
  tap.see(RUN, 'inbound'); // nobody looks any more
});

test('one that nobody reads ends by itself; one that is read lives on', async () => {
  const { clock, tap, captures } = world();
  const [read, forgotten] = [captures.open('lease', tap, 100), captures.open('lease', tap, 100)];
  clock.advance(29_000);
  tap.see(RUN, 'inbound');
  const page = captures.read('lease', read, PAGE);
  await turn();
  clock.advance(100);
  await page;
  clock.advance(29_000);
  await expect(captures.read('lease', forgotten, PAGE)).rejects.toMatchObject({ code: 'capture.ended' });
  captures.close('lease', read);
});

test('four at a time are enough for a guest, until one has ended', () => {
  const { tap, captures } = world();
  const [first = ''] = [1, 2, 3, 4].map(() => captures.open('lease', tap, 100));
  expect(() => captures.open('lease', tap, 100)).toThrow(expect.objectContaining({ code: 'capture.too-many' }));
  captures.open('other', tap, 100);
  captures.close('lease', first);
  expect(captures.open('lease', tap, 100)).not.toBe(first);
});
