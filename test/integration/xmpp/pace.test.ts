/** Prosody's default limit of 10 kB/s: frames trickle, and what matters passes them. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { openFrameChannel } from '../../../src/xmpp/frames.ts';
import { openMailbox } from '../../../src/xmpp/mailbox.ts';
import { startTestServer, type TestServer } from '../../harness/prosody.ts';
import { soon } from '../../harness/xmpp.ts';
import { plainCipher, plainSeals } from '../../harness/plain-trust.ts';

let prosody: TestServer;
beforeAll(async () => {
  prosody = await startTestServer({ bytesPerSecond: 'stock' });
});
afterAll(() => prosody[Symbol.asyncDispose]());

test('while frames flood, a request overtakes all but what the server already has', async () => {
  expect(prosody.server.bytesPerSecond).toBe(10_000);
  await using sender = await prosody.open('sender');
  await using receiver = await prosody.open('receiver');
  using out = openFrameChannel({ cipher: plainCipher(), session: sender });
  using incoming = openFrameChannel({ cipher: plainCipher(), session: receiver });
  let arrived = 0;
  incoming.listen(sender.jid, 'link', () => void arrived++);
  const stop = openMailbox({ seals: plainSeals, session: receiver }).serve(async () => ({ seconds: arrived }));
  const payload = new Uint8Array(out.maxPayload).fill(7);
  const flood = () => void (out.ready(receiver.jid) && out.send(receiver.jid, 'link', payload));
  out.onReady(flood);
  flood();
  // A wire that ignores readiness: its queue overflows, oldest first, and that is counted.
  for (let count = 0; count < 50; count++) out.send(receiver.jid, 'link', payload);
  expect(out.drops).toBeGreaterThan(20);
  await vi.waitFor(() => expect(arrived).toBeGreaterThan(2), soon);
  for (let round = 0; round < 3; round++) {
    const before = arrived;
    const { seconds } = await openMailbox({ seals: plainSeals, session: sender }).request(receiver.jid, {
      kind: 'lease.renew',
      lease: 'l',
      seconds: 1,
    });
    // One second of the line holds four of these stanzas.
    expect(seconds - before).toBeLessThan(5);
  }
  const before = arrived;
  await vi.waitFor(() => expect(arrived).toBeGreaterThan(before + 2), soon);
  expect([sender.counters().fresh, receiver.counters().fresh]).toEqual([1, 1]);
  stop();
});

test.each([
  ['bears a tenth of what it was said to bear', { bytesPerSecond: 100_000 }, (pace: number) => pace < 20_000],
  [
    'bears more than we dared to ask',
    { bytesPerSecond: 2000, maxBytesPerSecond: 32_000 },
    (pace: number) => pace > 2500,
  ],
])('a server that %s: the pace is learned', async (_, limits, isLearned) => {
  await using sender = await prosody.open('sender', limits);
  await using receiver = await prosody.open('receiver');
  using out = openFrameChannel({ cipher: plainCipher(), session: sender });
  const flood = () =>
    void (out.ready(receiver.jid) && out.send(receiver.jid, 'link', new Uint8Array(out.maxPayload).fill(7)));
  out.onReady(flood);
  flood();
  await vi.waitFor(() => expect(isLearned(sender.bytesPerSecond)).toBe(true), soon);
  expect(sender.counters().fresh).toBe(1);
});
