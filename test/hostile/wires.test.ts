/** What travels outside envelopes: frames through the server, the room's own words, and signals that lead data channels astray. */
import { afterAll, beforeAll } from 'vitest';
import { silentLog } from '../../src/base/log.ts';
import { shareSecret, createBoxKey } from '../../src/trust/box.ts';
import { createFrameCipher } from '../../src/trust/frames.ts';
import { asciiJson } from '../../src/base/ascii.ts';
import { createSignalRouter } from '../../src/wire/signaling.ts';
import { openFrameChannel, type FrameChannel } from '../../src/xmpp/frames.ts';
import { MUC_NS, xml, type Element } from '../../src/xmpp/xml.ts';
import type { Friend } from '../harness/evil-friends.ts';
import { attacks, type Attack, type Outcome } from '../harness/evil-rows.ts';
import type { EvilServer } from '../harness/evil-server.ts';
import { openEvilWorld, type EvilWorld, type Trio } from '../harness/evil-world.ts';
import { leak, presence } from '../harness/evil-words.ts';
import { settle, soon } from '../harness/xmpp.ts';
import { vi } from 'vitest';
import { createCipheriv } from 'node:crypto';
import { KITH_NS } from '../../src/protocol/namespaces.ts';

let world: EvilWorld;
beforeAll(async () => {
  world = await openEvilWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

const LINK = 'link:job:1-2';
const SECRET = 'the frame that nobody else may read';

/** Alice sends frames to Ben; the server has each stanza in its hands and lets none pass by itself. */
interface Tunnel {
  readonly evil: EvilServer;
  readonly alice: Friend;
  readonly ben: Friend;
  /** The stanza of the next frame. */
  catch(text: string): Promise<Element>;
  /** Brings it to Ben and waits until he has dealt with it. */
  bring(stanza: Element): Promise<void>;
  /** What Ben got out of it. */
  readonly got: readonly string[];
}

const channelOf = (friend: Friend): FrameChannel =>
  openFrameChannel({
    session: friend.session,
    cipher: createFrameCipher({
      room: friend.room.jid,
      self: () => friend.jid,
      ownKey: () => friend.circle.boxKey,
      keyOf: (jid) => friend.circle.member(jid)?.box,
    }),
  });

const tunnelling = (act: (tunnel: Tunnel) => Promise<Outcome>) => (on: EvilWorld) =>
  on.among(async ({ evil, alice, ben }) => {
    using sending = channelOf(alice);
    using receiving = channelOf(ben);
    const got: string[] = [];
    receiving.listen(alice.jid, LINK, (payload) => got.push(Buffer.from(payload).toString()));
    const ofFrames = ({ client, direction, stanza }: { client: string; direction: string; stanza: Element }) =>
      client === alice.jid && direction === 'toServer' && stanza.getChild('frames') !== undefined;
    return await act({
      evil,
      alice,
      ben,
      got,
      async catch(text) {
        const taken = evil.take(ofFrames);
        // The first ones are refused until the key is there.
        await vi.waitFor(() => {
          if (!sending.send(ben.jid, LINK, Buffer.from(text))) throw new Error('not yet');
        }, soon);
        const { stanza } = await taken;
        stanza.attrs['from'] = alice.jid;
        return stanza;
      },
      async bring(stanza) {
        const before = got.length + receiving.drops;
        evil.inject(ben.jid, stanza);
        // A new key takes a moment.
        await vi.waitFor(() => {
          if (got.length + receiving.drops === before) throw new Error('not yet');
        }, soon);
      },
    });
  });

const bytesOf = (stanza: Element): Buffer => Buffer.from(stanza.getChildText('frames') ?? '', 'base64');

const withBytes = (stanza: Element, bytes: Uint8Array, more: Readonly<Record<string, string>> = {}): Element => {
  const frames = stanza.getChild('frames');
  return xml(
    'message',
    { ...stanza.attrs, id: crypto.randomUUID() },
    xml('frames', { ...frames?.attrs, ...more }, Buffer.from(bytes).toString('base64')),
  );
};

const judge = (success: boolean, why: string): Outcome => (success ? 'succeeded' : `refused: ${why}`);

const amongFriends =
  (act: (friends: Trio) => Promise<Outcome>) =>
  (on: EvilWorld): Promise<Outcome> =>
    on.among(act);

const OFFER = { type: 'offer', sdp: 'v=0\r\n' };
const candidate = (address: string) => ({
  candidates: [{ candidate: `candidate:1 1 UDP 2122317823 ${address} 40000 typ host`, sdpMid: '0', sdpMLineIndex: 0 }],
});

/** Signals of a plan mate on their way to the native library; it succeeded if all of them get there. */
const signalling =
  (signals: readonly unknown[], options: { readonly channels?: number } = {}) =>
  async (): Promise<Outcome> => {
    const router = createSignalRouter({ send: async () => {}, log: silentLog });
    const { channels = 1 } = options;
    for (let channel = 1; channel <= channels; channel++)
      for (const data of [OFFER, ...signals]) router.dispatch('mallory', `link:${channel}`, 'session', data);
    using pipe = router.pipe({ peer: 'mallory', channel: 'link:1', offer: false });
    const got: unknown[] = [];
    pipe.onData((data) => got.push(data));
    return judge(got.length === 1 + signals.length, `${got.length} of ${1 + signals.length} signals pass`);
  };

const rows: readonly Attack<EvilWorld>[] = [
  {
    name: 'server reads the frames that it carries',
    guard: 'frames: sealed (HPKE, AES-256-GCM)',
    off: ['frames.seal'],
    attack: tunnelling(async (tunnel) => judge(bytesOf(await tunnel.catch(SECRET)).includes(SECRET), 'it reads noise')),
  },
  {
    name: 'server changes a frame',
    guard: 'frames: authenticated (AES-256-GCM)',
    off: ['frames.tag'],
    attack: tunnelling(async (tunnel) => {
      const stanza = await tunnel.catch(SECRET);
      const bytes = bytesOf(stanza);
      bytes[0]! ^= 1;
      await tunnel.bring(withBytes(stanza, bytes));
      return judge(tunnel.got.length > 0, 'it does not open');
    }),
  },
  {
    name: 'server repeats a frame',
    guard: 'frames: numbers only grow',
    off: ['frames.number'],
    attack: tunnelling(async (tunnel) => {
      const stanza = await tunnel.catch(SECRET);
      await tunnel.bring(stanza);
      await tunnel.bring(withBytes(stanza, bytesOf(stanza)));
      return judge(tunnel.got.length > 1, 'it came before');
    }),
  },
  {
    name: 'server changes the order of frames',
    guard: 'frames: numbers only grow',
    off: ['frames.number'],
    attack: tunnelling(async (tunnel) => {
      const [first, second] = [await tunnel.catch('first'), await tunnel.catch('second')];
      await tunnel.bring(second);
      await tunnel.bring(first);
      return judge(tunnel.got.join() === 'second,first', 'it comes too late');
    }),
  },
  {
    name: 'server makes frames in the name of a friend',
    guard: 'frames: key agreed with the keys of both (authenticated HPKE)',
    off: ['frames.sender'],
    attack: tunnelling(async (tunnel) => {
      const { alice, ben } = tunnel;
      const mine = await createBoxKey();
      using _ = leak({ key: mine });
      const info = asciiJson(['kith:0 frames', ben.room.jid, alice.jid, ben.jid, LINK]);
      const { enc, secret } = await shareSecret(mine, ben.circle.boxKey.key, info);
      const cipher = createCipheriv('aes-256-gcm', secret, Buffer.alloc(12));
      const bytes = Buffer.concat([cipher.update(SECRET), cipher.final(), cipher.getAuthTag()]);
      const shape = await tunnel.catch('honest');
      await tunnel.bring(withBytes(shape, bytes, { key: enc, n: '0' }));
      return judge(tunnel.got.includes(SECRET), 'it does not open');
    }),
  },
  {
    name: 'server moves a frame from one link to another',
    guard: 'frames: key bound to its link',
    off: ['frames.link'],
    attack: tunnelling(async (tunnel) => {
      using elsewhere = channelOf(tunnel.alice);
      const taken = tunnel.evil.take(
        ({ client, stanza }) => client === tunnel.alice.jid && stanza.getChild('frames') !== undefined,
      );
      await vi.waitFor(() => {
        if (!elsewhere.send(tunnel.ben.jid, 'link:other:1-2', Buffer.from(SECRET))) throw new Error('not yet');
      }, soon);
      const { stanza } = await taken;
      stanza.attrs['from'] = tunnel.alice.jid;
      await tunnel.bring(withBytes(stanza, bytesOf(stanza), { link: LINK }));
      return judge(tunnel.got.includes(SECRET), 'it does not open');
    }),
  },
  {
    name: 'frames addressed to another session, or to the account as a whole',
    guard: 'frames: only what names our session',
    off: ['frames.to'],
    attack: tunnelling(async (tunnel) => {
      const stanza = await tunnel.catch(SECRET);
      stanza.attrs['to'] = tunnel.ben.account;
      await tunnel.bring(stanza);
      return judge(tunnel.got.includes(SECRET), 'it is not for us');
    }),
  },
  {
    name: 'frames larger than any may be',
    guard: 'frames: at most 12,000 bytes in a stanza',
    off: ['frames.size'],
    attack: tunnelling(async (tunnel) => {
      const cipher = createFrameCipher({
        room: tunnel.alice.room.jid,
        self: () => tunnel.alice.jid,
        ownKey: () => tunnel.alice.circle.boxKey,
        keyOf: (jid) => tunnel.alice.circle.member(jid)?.box,
      });
      const sealed = await vi.waitFor(() => {
        const made = cipher.seal(tunnel.ben.jid, LINK, Buffer.alloc(20_000, 120));
        if (!made) throw new Error('not yet');
        return made;
      }, soon);
      const frames = { xmlns: KITH_NS, link: LINK, key: sealed.key, n: String(sealed.number) };
      const text = Buffer.from(sealed.bytes).toString('base64');
      const { alice, ben } = tunnel;
      await tunnel.bring(
        xml('message', { type: 'headline', from: alice.jid, to: ben.jid }, xml('frames', frames, text)),
      );
      return judge(tunnel.got[0]?.length === 20_000, 'it is dropped');
    }),
  },
  {
    name: 'word from outside the room that we were thrown out of it',
    guard: 'room: presence of the room itself alone',
    off: ['room.from'],
    attack: amongFriends(async ({ evil, ben }) => {
      let out = false;
      void ben.room.closed.then(() => (out = true));
      evil.inject(
        ben.jid,
        xml(
          'presence',
          { from: 'elsewhere@rooms.kith.internal/ben', to: ben.jid, type: 'unavailable' },
          xml('x', { xmlns: `${MUC_NS}#user` }, xml('status', { code: '110' }), xml('status', { code: '301' })),
        ),
      );
      await settle(ben.session);
      return judge(out, 'the room is not left');
    }),
  },
  {
    name: 'room with more occupants than anybody has friends',
    guard: 'room: at most 1000 are remembered',
    off: ['room.max'],
    attack: amongFriends(async ({ evil, ben }) => {
      for (let index = 0; index < 1100; index++) {
        const jid = `ghost-${index}@kith.internal/x`;
        evil.inject(ben.jid, presence({ room: ben.room.jid, nick: `ghost-${index}`, jid }, ben.jid));
      }
      await settle(ben.session);
      return judge(ben.room.occupants().length > 1000, '1000 are remembered');
    }),
  },
  {
    name: 'candidate that is a name, so that we ask DNS for a stranger',
    guard: 'signal: addresses only',
    off: ['signal.address'],
    attack: signalling([candidate('printer.lan')]),
  },
  {
    name: 'candidate without a port',
    guard: 'signal: addresses and ports only',
    off: ['signal.address'],
    attack: signalling([{ candidates: [{ candidate: 'candidate:1 1 UDP 1 127.0.0.1 0 typ host' }] }]),
  },
  {
    name: 'candidate that hides in a description',
    guard: 'signal: descriptions are looked through',
    off: ['signal.address'],
    attack: signalling([{ type: 'answer', sdp: 'v=0\r\na=candidate:1 1 UDP 1 internal.example 80 typ host\r\n' }]),
  },
  {
    name: 'description with bytes that no text has',
    guard: 'signal: plain text only',
    off: ['signal.text'],
    attack: signalling([{ type: 'answer', sdp: 'v=0\r\n\u0000\u0007' }]),
  },
  {
    name: 'description larger than any may be',
    guard: 'signal: schema with limits',
    off: ['signal.shape'],
    attack: signalling([{ type: 'answer', sdp: 'a=x\r\n'.repeat(10_000) }]),
  },
  {
    name: 'more candidates than a host has addresses',
    guard: 'signal: schema with limits',
    off: ['signal.shape'],
    attack: signalling([{ candidates: Array.from({ length: 500 }, () => candidate('127.0.0.1').candidates[0]) }]),
  },
  {
    name: 'flood of signals before the link is there',
    guard: 'signals: eight are kept for a channel',
    off: ['signals.early', 'signals.backlog'],
    attack: signalling(Array.from({ length: 100 }, () => candidate('127.0.0.1'))),
  },
  {
    name: 'flood of channels',
    guard: 'signals: sixteen channels are kept for a peer',
    off: ['signals.channels'],
    attack: signalling([], { channels: 100 }),
  },
];

attacks(rows, () => world);
