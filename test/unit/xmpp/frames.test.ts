/** Frames in headline messages: exact bytes, only from whom we listen to, and turns for everybody. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { openFrameChannel } from '../../../src/xmpp/frames.ts';
import { xml } from '../../../src/xmpp/xml.ts';
import { fakeSession } from '../../harness/fake-session.ts';
import { plainCipher } from '../../harness/plain-trust.ts';

const message = (from: string, to: string, text: string, type = 'headline', link = 'one') =>
  xml('message', { type, from, to }, xml('frames', { xmlns: 'urn:kith:0', link, key: 'A'.repeat(43), n: '0' }, text));

test('any payload up to the cap arrives as it left', () => {
  const session = fakeSession('me@h/1');
  using channel = openFrameChannel({ cipher: plainCipher(), session });
  const got: Buffer[] = [];
  channel.listen('me@h/1', 'one', (payload) => got.push(Buffer.from(payload)));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (payload) => {
      channel.send('me@h/1', 'one', payload);
      const { stanza, priority } = session.sent.at(-1)!;
      expect(priority).toBe('frames');
      stanza.attrs['from'] = 'me@h/1';
      expect(session.arrive(stanza)).toBe(true);
      expect(got.at(-1)?.equals(payload)).toBe(true);
    }),
  );
  expect(channel.send('me@h/1', 'one', new Uint8Array(12_000))).toBe(true);
  expect(channel.send('me@h/1', 'one', new Uint8Array(12_001))).toBe(false);
  expect(channel.drops).toBe(1);
});

test.each([
  ['a stranger', message('you@h/1', 'me@h/1', 'AAAA')],
  ['another session of ours as receiver', message('friend@h/1', 'me@h/2', 'AAAA')],
  ['another link', message('friend@h/1', 'me@h/1', 'AAAA', 'headline', 'two')],
  ['a link without end', message('friend@h/1', 'me@h/1', 'AAAA', 'headline', 'x'.repeat(100_000))],
  ['text that is not base64', message('friend@h/1', 'me@h/1', 'AA*A')],
  ['base64 that is cut', message('friend@h/1', 'me@h/1', 'AAA')],
  ['more than the cap', message('friend@h/1', 'me@h/1', 'AAAA'.repeat(4007))],
])('%s is refused and counted', (_what, stanza) => {
  const session = fakeSession('me@h/1');
  using channel = openFrameChannel({ cipher: plainCipher(), session });
  const got: Uint8Array[] = [];
  channel.listen('friend@h/1', 'one', (payload) => got.push(payload));
  expect(session.arrive(stanza)).toBe(true);
  expect([got, channel.drops]).toEqual([[], 1]);
});

test('two links with the same peer are told apart, and end one by one', () => {
  const session = fakeSession('me@h/1');
  using channel = openFrameChannel({ cipher: plainCipher(), session });
  const got: string[] = [];
  channel.listen('friend@h/1', 'one', () => got.push('one'));
  const end = channel.listen('friend@h/1', 'two', () => got.push('two'));
  const arrive = (link: string) => session.arrive(message('friend@h/1', 'me@h/1', 'AAAA', 'headline', link));
  arrive('one');
  arrive('two');
  end();
  arrive('two');
  arrive('one');
  expect([got, channel.drops]).toEqual([['one', 'two', 'one'], 1]);
  expect(() => channel.listen('friend@h/1', 'x'.repeat(161), () => {})).toThrow(RangeError);
});

test('a message that is no headline is not ours', () => {
  const session = fakeSession('me@h/1');
  using channel = openFrameChannel({ cipher: plainCipher(), session });
  expect(session.arrive(message('friend@h/1', 'me@h/1', 'AAAA', 'chat'))).toBe(false);
  expect(channel.drops).toBe(0);
});

test('while the line is short, receivers take turns, one stanza each, however greedy', () => {
  const session = fakeSession('me@h/1');
  using channel = openFrameChannel({ cipher: plainCipher(), session });
  const greedy = (to: string) => () => {
    while (channel.ready(to)) channel.send(to, 'one', new Uint8Array(10));
  };
  for (const to of ['a@h/1', 'b@h/1', 'c@h/1']) channel.onReady(greedy(to));
  session.allow(3);
  session.allow(4);
  expect(session.sent.map(({ stanza }) => String(stanza.attrs['to'])[0]).join('')).toBe('abcabca');
});

test('the recommended payload keeps a stanza below a quarter second of the line, and fits one full frame', () => {
  const at = (bytesPerSecond: number) => {
    using channel = openFrameChannel({ cipher: plainCipher(), session: fakeSession('me@h/1', { bytesPerSecond }) });
    return channel.maxPayload;
  };
  expect([at(3000), at(10_000), at(30_000), at(1e6)]).toEqual([2000, 2000, 5625, 12_000]);
});
