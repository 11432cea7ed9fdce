/** Output of a guest's command, page by page, from a peer that may lie. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { execRemote, type Ask } from '../../../src/job/guest-client.ts';
import type { Page, RequestOf } from '../../../src/protocol/messages.ts';

const TO = { peer: 'w@x/1', lease: 'lease' };
const page = (data: Buffer, offset: number, total = data.length): Page => ({
  data: data.toString('base64'),
  offset,
  total,
});

/** A peer whose command printed `output` and that sends pages of `size` bytes, changed by `lie`. */
function peerWith(output: Buffer, size: number, lie: (page: Page) => Page = (honest) => honest): Ask {
  const at = (offset: number) => lie(page(output.subarray(offset, offset + size), offset, output.length));
  return (async (_: string, request: RequestOf<'guest.exec'> | RequestOf<'guest.output'>) =>
    request.kind === 'guest.exec'
      ? { exec: 'e', exitCode: 3, stdout: at(0), stderr: page(Buffer.alloc(0), 0) }
      : at(request.offset)) as unknown as Ask;
}

describe('remote exec', () => {
  test('gives the output back whole, whatever the size of its pages', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 2000 }), fc.integer({ min: 1, max: 500 }), async (bytes, size) => {
        const outcome = await execRemote(peerWith(Buffer.from(bytes), size), TO, ['cat'], { timeoutSeconds: 1 });
        expect(outcome.exitCode).toBe(3);
        expect(outcome.stdout.equals(Buffer.from(bytes))).toBe(true);
      }),
    );
  });

  test.each<[string, (honest: Page) => Page]>([
    ['sends empty pages for ever', (honest) => (honest.offset === 0 ? honest : { ...honest, data: '' })],
    ['sends pages of another place', (honest) => ({ ...honest, offset: honest.offset === 0 ? 0 : honest.offset + 1 })],
    ['begins in the middle', (honest) => ({ ...honest, offset: honest.offset + 10 })],
  ])('refuses a peer that %s', async (_, lie) => {
    const ask = peerWith(Buffer.alloc(100, 'x'), 10, lie);
    await expect(execRemote(ask, TO, ['cat'], { timeoutSeconds: 1 })).rejects.toThrow(/wrong order/);
  });

  test('takes no more than 16 MiB, whatever the peer promises', async () => {
    const chunk = Buffer.alloc(4 * 1024 * 1024, 'x');
    let asked = 0;
    const ask = (async (_: string, request: RequestOf<'guest.exec'> | RequestOf<'guest.output'>) => {
      asked++;
      const endless = (offset: number) => page(chunk, offset, Number.MAX_SAFE_INTEGER);
      return request.kind === 'guest.exec'
        ? { exec: 'e', exitCode: 0, stdout: endless(0), stderr: page(Buffer.alloc(0), 0) }
        : endless(request.offset);
    }) as unknown as Ask;
    const { stdout } = await execRemote(ask, TO, ['yes'], { timeoutSeconds: 1 });
    expect(stdout.length).toBe(16 * 1024 * 1024);
    expect(asked).toBe(4);
  });
});
