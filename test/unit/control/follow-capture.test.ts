/** A capture as a file: complete however it ends, and nothing in it that was not asked for. */
import { expect, test } from 'vitest';
import { KithError } from '../../../src/base/errors.ts';
import { followCapture, type CaptureOptions } from '../../../src/control/follow-capture.ts';
import { enhancedPacket } from '../../../src/net/pcapng.ts';
import type { CapturePage } from '../../../src/protocol/messages.ts';

const packet = (fill: number) =>
  enhancedPacket({ timeUs: 1, direction: 'inbound', length: 60, data: new Uint8Array(60).fill(fill) });
const page = (...packets: Uint8Array[]): CapturePage => ({
  data: Buffer.concat(packets).toString('base64'),
  received: 10,
  dropped: 3,
});
const HANDLE = { guest: 'w', lease: 'l', capture: 'c' };
const FOREVER = new Promise<CapturePage>(() => {});

/** A peer that answers with these pages, one after the other. */
function peer(...pages: (CapturePage | Promise<CapturePage>)[]) {
  const calls: string[] = [];
  return {
    calls,
    captureOpen: async () => {
      calls.push('open');
      return HANDLE;
    },
    captureRead: async () => {
      calls.push('read');
      return pages.shift() ?? FOREVER;
    },
    captureClose: async () => {
      calls.push('close');
      return {};
    },
  };
}

async function all(api: ReturnType<typeof peer>, options: Partial<CaptureOptions> = {}) {
  const pieces: Uint8Array[] = [];
  let frames = 0;
  let failure: unknown;
  try {
    for await (const piece of followCapture(api, {
      target: { guest: 'w' },
      snapLength: 60,
      application: 'test',
      signal: new AbortController().signal,
      ...options,
    })) {
      pieces.push(piece.bytes);
      ({ frames } = piece);
    }
  } catch (error) {
    failure = error;
  }
  return { blocks: blockTypes(Buffer.concat(pieces)), frames, failure };
}

function blockTypes(bytes: Buffer): string[] {
  const names: Readonly<Record<number, string>> = {
    0x0a0d0d0a: 'section',
    1: 'interface',
    5: 'statistics',
    6: 'packet',
  };
  const found: string[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at + 4)) {
    found.push(names[bytes.readUInt32LE(at)] ?? '?');
  }
  return found;
}

test('ends after the frames that were wanted, in the middle of a page', async () => {
  const api = peer(page(packet(1)), page(), page(packet(2), packet(3), packet(4)));
  expect(await all(api, { count: 3 })).toEqual({
    blocks: ['section', 'interface', 'packet', 'packet', 'packet', 'statistics'],
    frames: 3,
    failure: undefined,
  });
  expect(api.calls).toEqual(['open', 'read', 'read', 'read', 'close']);
});

test('ends at once when it is told to, with a whole file', async () => {
  const stop = new AbortController();
  const api = peer(page(packet(1)), FOREVER);
  const ended = all(api, { signal: stop.signal });
  await expect.poll(() => api.calls.length).toBe(3);
  stop.abort();
  expect(await ended).toMatchObject({ blocks: ['section', 'interface', 'packet', 'statistics'], failure: undefined });
  expect(api.calls.at(-1)).toBe('close');
});

test('that was told to end before it began has a header, and statistics', async () => {
  expect((await all(peer(), { signal: AbortSignal.abort() })).blocks).toEqual(['section', 'interface', 'statistics']);
});

test('of a guest that goes is whole, and says why it ended', async () => {
  const gone = Promise.reject(new KithError({ code: 'job.no-lease', message: 'no such lease' }));
  gone.catch(() => {});
  const { blocks, failure } = await all(peer(page(packet(1)), gone));
  expect(blocks).toEqual(['section', 'interface', 'packet', 'statistics']);
  expect(failure).toMatchObject({ code: 'job.no-lease' });
});

test('takes nothing but packets from a peer that lies', async () => {
  const evil = packet(1);
  evil[0] = 5;
  for (const lie of [page(evil), { ...page(), data: 'AAAA' }, page(packet(1).subarray(0, 50))]) {
    const { blocks, failure } = await all(peer(page(packet(1)), lie));
    expect(blocks).toEqual(['section', 'interface', 'packet', 'statistics']);
    expect(failure).toMatchObject({ code: 'capture.damaged' });
  }
});
