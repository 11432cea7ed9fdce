/** Frames through the server: who can open them, and what a server gains by repeating, swapping and holding back. */
import { beforeEach, expect, test, vi } from 'vitest';
import { createBoxKey, type BoxKey } from '../../../src/trust/box.ts';
import { createFrameCipher, type FrameCipher, type SealedFrames } from '../../../src/trust/frames.ts';

const soon = { timeout: 20_000, interval: 2 };
const bytes = (text: string) => new Uint8Array(Buffer.from(text));

interface End {
  readonly jid: string;
  key: BoxKey;
  readonly cipher: FrameCipher;
  readonly heard: string[];
  /** Seals, waiting for the key if need be. */
  seals(to: End, link: string, text: string): Promise<SealedFrames>;
  /** What it makes of a record, when that is settled. */
  takes(from: End, link: string, sealed: SealedFrames): Promise<string | undefined>;
}

/** A room whose members know each other's box keys, as by their hellos. */
let known: Map<string, string>;
let anna: End;
let ben: End;
let mallory: End;

async function openEnd(jid: string, room = 'friends@rooms.test'): Promise<End> {
  const end = { jid, key: await createBoxKey(), heard: [] as string[] };
  known.set(jid, end.key.key);
  const cipher = createFrameCipher({
    room,
    self: () => jid,
    ownKey: () => end.key,
    keyOf: (other) => known.get(other),
  });
  return Object.assign(end, {
    cipher,
    seals: (to: End, link: string, text: string) =>
      vi.waitFor(() => {
        const sealed = cipher.seal(to.jid, link, bytes(text));
        if (!sealed) throw new Error('no key yet');
        return sealed;
      }, soon),
    async takes(from: End, link: string, sealed: SealedFrames) {
      const before = { heard: end.heard.length, refused: cipher.refused };
      cipher.open(from.jid, link, sealed, (payload) => end.heard.push(Buffer.from(payload).toString()));
      await vi.waitFor(() => {
        if (end.heard.length === before.heard && cipher.refused === before.refused) throw new Error('not settled');
      }, soon);
      return end.heard[before.heard];
    },
  });
}

async function moveToNewKeys(end: End): Promise<void> {
  end.key = await createBoxKey();
  known.set(end.jid, end.key.key);
}

beforeEach(async () => {
  known = new Map();
  anna = await openEnd('anna@host.test/a');
  ben = await openEnd('ben@host.test/b');
  mallory = await openEnd('mallory@host.test/m');
});

test('payloads go through in order, and losses in between are survived', async () => {
  const sent: SealedFrames[] = [];
  for (let at = 0; at < 6; at++) sent.push(await anna.seals(ben, 'link', `frame ${at}`));
  for (const at of [0, 1, 4, 5]) expect(await ben.takes(anna, 'link', sent[at]!)).toBe(`frame ${at}`);
});

test('what came before, or what is overtaken, is refused', async () => {
  const sent: SealedFrames[] = [];
  for (let at = 0; at < 3; at++) sent.push(await anna.seals(ben, 'link', `frame ${at}`));
  expect(await ben.takes(anna, 'link', sent[2]!)).toBe('frame 2');
  for (const at of [2, 1, 0]) expect(await ben.takes(anna, 'link', sent[at]!)).toBeUndefined();
});

test('a changed number, byte, tag or length is refused, and does no harm', async () => {
  const first = await anna.seals(ben, 'link', 'first');
  const second = await anna.seals(ben, 'link', 'second');
  for (let at = 0; at < second.bytes.length; at++) {
    const changed = new Uint8Array(second.bytes);
    changed[at]! ^= 1;
    expect(await ben.takes(anna, 'link', { ...second, bytes: changed })).toBeUndefined();
  }
  for (const length of [0, 1, 15, 16, second.bytes.length - 1])
    expect(await ben.takes(anna, 'link', { ...second, bytes: second.bytes.subarray(0, length) })).toBeUndefined();
  expect(await ben.takes(anna, 'link', { ...second, number: 7 })).toBeUndefined();
  expect(await ben.takes(anna, 'link', first)).toBe('first');
  expect(await ben.takes(anna, 'link', second)).toBe('second');
});

test('a record is for one link, one sender, one receiver and one room', async () => {
  const sealed = await anna.seals(ben, 'link', 'for ben');
  expect(await ben.takes(anna, 'other link', sealed)).toBeUndefined();
  expect(await ben.takes(mallory, 'link', sealed)).toBeUndefined();
  expect(await mallory.takes(anna, 'link', sealed)).toBeUndefined();
  const elsewhere = await openEnd(ben.jid, 'other@rooms.test');
  elsewhere.key = ben.key;
  known.set(ben.jid, ben.key.key);
  expect(await elsewhere.takes(anna, 'link', sealed)).toBeUndefined();
  expect(await ben.takes(anna, 'link', sealed)).toBe('for ben');
});

test('nobody but the sender can make a record: not with the keys of the receiver', async () => {
  await anna.seals(ben, 'link', 'first');
  // Mallory knows all public keys and says that she is Anna.
  const asAnna = createFrameCipher({
    room: 'friends@rooms.test',
    self: () => anna.jid,
    ownKey: () => mallory.key,
    keyOf: (jid) => known.get(jid),
  });
  const sealed = await vi.waitFor(() => {
    const made = asAnna.seal(ben.jid, 'link', bytes('forged'));
    if (!made) throw new Error('no key yet');
    return made;
  }, soon);
  expect(await ben.takes(anna, 'link', sealed)).toBeUndefined();
});

test('keys that the server makes up do not displace the real one', async () => {
  expect(await ben.takes(anna, 'link', await anna.seals(ben, 'link', 'before'))).toBe('before');
  for (let at = 0; at < 5; at++) {
    const { key } = await createBoxKey();
    expect(await ben.takes(anna, 'link', { key, number: 0, bytes: bytes('x'.repeat(40)) })).toBeUndefined();
    expect(await ben.takes(anna, 'link', await anna.seals(ben, 'link', `after ${at}`))).toBe(`after ${at}`);
  }
});

test('a first record that was held back does not make the newest key forgotten', { timeout: 60_000 }, async () => {
  const held = await anna.seals(ben, 'link', 'held back');
  // So many other links that Anna has to make a new key for this one.
  for (let other = 0; other < 400; other++) await anna.seals(ben, `link ${other}`, 'x');
  expect(await ben.takes(anna, 'link', await anna.seals(ben, 'link', 'new'))).toBe('new');
  expect(await ben.takes(anna, 'link', held)).toBe('held back');
  expect(await ben.takes(anna, 'link', await anna.seals(ben, 'link', 'newer'))).toBe('newer');
  expect(await ben.takes(anna, 'link', held)).toBeUndefined();
});

test('after a start of the sender, and of the receiver, frames flow again, and old ones do not', async () => {
  const old = await anna.seals(ben, 'link', 'old');
  expect(await ben.takes(anna, 'link', old)).toBe('old');
  anna = await openEnd(anna.jid);
  expect(await ben.takes(anna, 'link', await anna.seals(ben, 'link', 'from the new anna'))).toBe('from the new anna');
  expect(await ben.takes(anna, 'link', old)).toBeUndefined();
  const before = await anna.seals(ben, 'link', 'to the old ben');
  ben = await openEnd(ben.jid);
  expect(await ben.takes(anna, 'link', before)).toBeUndefined();
  expect(await ben.takes(anna, 'link', await anna.seals(ben, 'link', 'to the new ben'))).toBe('to the new ben');
});

test('a move to new keys while a wire lives costs no frame that is under way', async () => {
  expect(await ben.takes(anna, 'link', await anna.seals(ben, 'link', 'one'))).toBe('one');
  const underWay = await anna.seals(ben, 'link', 'two');
  await moveToNewKeys(ben);
  expect(await ben.takes(anna, 'link', underWay)).toBe('two');
  const fresh = await anna.seals(ben, 'link', 'three');
  expect(fresh.key).not.toBe(underWay.key);
  expect(await ben.takes(anna, 'link', fresh)).toBe('three');
});

test('whoever is no member any more is neither heard nor spoken to', async () => {
  const sealed = await anna.seals(ben, 'link', 'one');
  known.delete(anna.jid);
  expect(await ben.takes(anna, 'link', sealed)).toBeUndefined();
  expect(ben.cipher.seal(anna.jid, 'link', bytes('x'))).toBeUndefined();
});

test(
  'no number comes twice under one key, though links come and go beyond what is remembered',
  { timeout: 120_000 },
  async () => {
    const used = new Set<string>();
    const note = ({ key, number }: SealedFrames) => {
      const name = `${key} ${number}`;
      expect(used.has(name)).toBe(false);
      used.add(name);
    };
    for (let link = 0; link < 450; link++) {
      note(await anna.seals(ben, `link ${link}`, 'x'));
      note(await anna.seals(ben, 'busy', 'x'));
    }
    for (let link = 0; link < 5; link++) note(await anna.seals(ben, `link ${link}`, 'x'));
    // A link in use was never forgotten.
    expect(new Set([...used].filter((name) => name.endsWith(' 449')).map((name) => name.split(' ')[0])).size).toBe(1);
  },
);

test('a handler that throws loses its own payload and ends nothing', async () => {
  const sealed = await anna.seals(ben, 'link', 'one');
  ben.cipher.open(anna.jid, 'link', sealed, () => {
    throw new Error('broken');
  });
  await vi.waitFor(() => expect(ben.cipher.refused).toBe(1), soon);
  expect(await ben.takes(anna, 'link', await anna.seals(ben, 'link', 'two'))).toBe('two');
});

test('a peer whose key is no point of the curve gets nothing, until it shows a better one', async () => {
  known.set(ben.jid, 'A'.repeat(43));
  const ready = vi.fn<() => void>();
  anna.cipher.onReady(ready);
  expect(anna.cipher.seal(ben.jid, 'link', bytes('x'))).toBeUndefined();
  known.set(ben.jid, ben.key.key);
  expect(await ben.takes(anna, 'link', await anna.seals(ben, 'link', 'one'))).toBe('one');
  expect(ready).toHaveBeenCalledOnce();
});
