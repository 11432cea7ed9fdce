/** The server as courier: it forges, repeats, holds back, forwards, reflects and splices what friends say to each other. */
import { xml } from '@xmpp/client';
import { afterAll, beforeAll, expect, vi } from 'vitest';
import { asciiJson } from '../../src/base/ascii.ts';
import { KITH_NS } from '../../src/protocol/namespaces.ts';
import type { RequestOf } from '../../src/protocol/messages.ts';
import type { BoxKey } from '../../src/trust/box.ts';
import { boxInfo, idOf, readEnvelope } from '../../src/trust/envelope.ts';
import { STANZA_ERROR_NS } from '../../src/xmpp/xml.ts';
import { leaseRequest, openHome } from '../harness/evil-friends.ts';
import { without } from '../harness/evil-guards.ts';
import { attacks, type Attack } from '../harness/evil-rows.ts';
import { acquainted, amongFriends, openEvilWorld, type EvilWorld } from '../harness/evil-world.ts';
import {
  absence,
  answer,
  answering,
  deliver,
  forge,
  forgeRequest,
  intercept,
  isAnswer,
  leak,
  question,
  strangeDevice,
  textOf,
} from '../harness/evil-words.ts';
import { soon } from '../harness/xmpp.ts';

let world: EvilWorld;
beforeAll(async () => {
  world = await openEvilWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

const end = (lease: string): RequestOf<'lease.end'> => ({ kind: 'lease.end', lease, reason: 'the server says so' });
const renew = (lease: string, seconds: number): RequestOf<'lease.renew'> => ({ kind: 'lease.renew', lease, seconds });

const rows: readonly Attack<EvilWorld>[] = [
  {
    name: 'server forges a lease request in the name of a friend',
    guard: 'envelope: signed by its sender',
    off: ['envelope.signature'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      const signed = await forgeRequest(strangeDevice(), alice, ben, leaseRequest());
      await deliver(evil, ben, question(alice.jid, ben.jid, signed));
      return ben.leases.leases.length > 0 ? 'succeeded' : 'refused: no lease was granted';
    }),
  },
  {
    name: 'server ends a lease in the name of its holder',
    guard: 'envelope: signed by its sender',
    off: ['envelope.signature'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      const { lease } = await alice.mailbox.request(ben.jid, leaseRequest());
      const signed = await forgeRequest(strangeDevice(), alice, ben, end(lease));
      const outcome = await deliver(evil, ben, question(alice.jid, ben.jid, signed));
      return ben.leases.leases.length === 0 ? 'succeeded' : outcome;
    }),
  },
  {
    name: 'server renews a lease that its holder let go',
    guard: 'envelope: signed by its sender',
    off: ['envelope.signature'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      const { lease } = await alice.mailbox.request(ben.jid, leaseRequest());
      const signed = await forgeRequest(strangeDevice(), alice, ben, renew(lease, 86_400));
      return await deliver(evil, ben, question(alice.jid, ben.jid, signed));
    }),
  },
  {
    name: 'a member of the room writes in the name of another one',
    guard: 'envelope: signed by its sender',
    off: ['envelope.signature'],
    attack: amongFriends(async ({ evil, alice, ben, cleo }) => {
      const signed = await forgeRequest(cleo.device, alice, ben, leaseRequest());
      return await deliver(evil, ben, question(alice.jid, ben.jid, signed));
    }),
  },
  {
    name: 'a signature of zeros',
    guard: 'envelope: signed by its sender',
    off: ['envelope.signature'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      const signed = await forgeRequest(strangeDevice(), alice, ben, leaseRequest());
      return await deliver(evil, ben, question(alice.jid, ben.jid, `${'A'.repeat(86)}${signed.slice(86)}`));
    }),
  },
  {
    name: 'a signature in a second spelling, so that one message has two names',
    guard: 'signature: one canonical form',
    off: ['signature.form'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      using held = await intercept(evil, alice, ben, leaseRequest());
      const last = held.signed[85] ?? '';
      const other = String.fromCharCode(last.charCodeAt(0) + 1);
      return await deliver(
        evil,
        ben,
        question(alice.jid, ben.jid, `${held.signed.slice(0, 85)}${other}${held.signed.slice(86)}`),
      );
    }),
  },
  {
    name: 'server delivers a request a second time under another id',
    guard: 'envelope: each counter once',
    off: ['envelope.counter'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      using held = await intercept(evil, alice, ben, leaseRequest());
      await deliver(evil, ben, question(alice.jid, ben.jid, held.signed));
      return await deliver(evil, ben, question(alice.jid, ben.jid, held.signed));
    }),
  },
  {
    name: 'server delivers the same request stanza twice',
    guard: 'mailbox: each request runs once; envelope: each counter once',
    off: ['mailbox.once', 'envelope.counter'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      using held = await intercept(evil, alice, ben, leaseRequest());
      await deliver(evil, ben, held.stanza);
      const outcome = await deliver(evil, ben, held.stanza);
      return outcome === 'succeeded' ? outcome : 'refused: answered from the first time';
    }),
  },
  {
    name: 'server holds a request back for six minutes',
    guard: 'envelope: at most five minutes old',
    off: ['envelope.time'],
    async attack(on) {
      const room = on.newRoom();
      await using alice = await on.open('alice', room);
      let late = 0;
      await using ben = await on.open('ben', room, { trust: { now: () => Date.now() + late } });
      await acquainted(alice, ben);
      using held = await intercept(on.evil, alice, ben, leaseRequest());
      late = 6 * 60_000;
      return await deliver(on.evil, ben, held.stanza);
    },
  },
  {
    name: 'a friend dates a message into the future, to be used later',
    guard: 'envelope: at most five minutes ahead',
    off: ['envelope.time'],
    async attack(on) {
      const room = on.newRoom();
      await using alice = await on.open('alice', room, { trust: { now: () => Date.now() + 3_600_000 } });
      await using ben = await on.open('ben', room);
      await acquainted(alice, ben);
      using held = await intercept(on.evil, alice, ben, leaseRequest());
      return await deliver(on.evil, ben, held.stanza);
    },
  },
  {
    name: 'server forwards a request to another friend',
    guard: 'envelope: names its receiver, sealed for its key',
    off: ['envelope.receiver', 'envelope.receiverSession', 'box.key'],
    attack: amongFriends(async ({ evil, alice, ben, cleo }) => {
      using held = await intercept(evil, alice, ben, leaseRequest());
      using _ = leak({ key: ben.circle.boxKey });
      return await deliver(evil, cleo, question(alice.jid, cleo.jid, held.signed));
    }),
  },
  {
    name: 'server reflects a request to its sender, as if from its other device process',
    guard: 'envelope: names sender and receiver, sealed for its key',
    off: ['envelope.sender', 'envelope.senderSession', 'envelope.receiver', 'envelope.receiverSession', 'box.key'],
    async attack(on) {
      const room = on.newRoom();
      await using home = await openHome();
      await using one = await on.open('alice', room, { home: home.path });
      await using two = await on.open('alice', room, { home: home.path });
      await acquainted(one, two);
      using held = await intercept(on.evil, one, two, leaseRequest());
      using _ = leak({ key: two.circle.boxKey });
      return await deliver(on.evil, one, question(two.jid, one.jid, held.signed));
    },
  },
  {
    name: 'server delivers what one process of a friend said as if another had',
    guard: 'envelope: names its sender and its session',
    off: ['envelope.sender', 'envelope.senderSession'],
    async attack(on) {
      const room = on.newRoom();
      await using home = await openHome();
      await using one = await on.open('alice', room, { home: home.path });
      await using two = await on.open('alice', room, { home: home.path });
      await using ben = await on.open('ben', room);
      await acquainted(one, two, ben);
      using held = await intercept(on.evil, one, ben, leaseRequest());
      return await deliver(on.evil, ben, question(two.jid, ben.jid, held.signed));
    },
  },
  {
    name: 'server delivers a request of an earlier life of its sender',
    guard: 'envelope: names the session of its sender',
    off: ['envelope.senderSession'],
    async attack(on) {
      const room = on.newRoom();
      await using home = await openHome();
      await using ben = await on.open('ben', room);
      let old = '';
      {
        await using alice = await on.open('alice', room, { home: home.path, resource: 'same' });
        await acquainted(alice, ben);
        using held = await intercept(on.evil, alice, ben, leaseRequest());
        old = held.signed;
      }
      await vi.waitFor(() => expect(ben.circle.members).toHaveLength(0), soon);
      await using alice = await on.open('alice', room, { home: home.path, resource: 'same' });
      await acquainted(alice, ben);
      return await deliver(on.evil, ben, question(alice.jid, ben.jid, old));
    },
  },
  {
    name: 'server delivers a request to a later life of its receiver',
    guard: 'envelope: names the session of its receiver, whose key is gone',
    off: ['envelope.receiverSession', 'box.key'],
    async attack(on) {
      const room = on.newRoom();
      await using home = await openHome();
      await using alice = await on.open('alice', room);
      let old = '';
      let key: BoxKey;
      {
        await using ben = await on.open('ben', room, { home: home.path, resource: 'same' });
        await acquainted(alice, ben);
        using held = await intercept(on.evil, alice, ben, leaseRequest());
        old = held.signed;
        key = ben.circle.boxKey;
      }
      await vi.waitFor(() => expect(alice.circle.members).toHaveLength(0), soon);
      await using ben = await on.open('ben', room, { home: home.path, resource: 'same' });
      await acquainted(alice, ben);
      using _ = leak({ key });
      return await deliver(on.evil, ben, question(alice.jid, ben.jid, old));
    },
  },
  {
    name: 'server makes friends forget each other, then repeats hello and request',
    guard: 'circle: counters outlive an absence',
    off: ['envelope.counter'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      const hello = evil.record.findLast(
        ({ client, direction, stanza }) =>
          client === ben.jid &&
          direction === 'toClient' &&
          stanza.name === 'presence' &&
          textOf(stanza) !== '' &&
          String(stanza.attrs['from']).endsWith('/alice'),
      )!;
      using held = await intercept(evil, alice, ben, leaseRequest());
      await deliver(evil, ben, question(alice.jid, ben.jid, held.signed));
      const who = { room: ben.room.jid, nick: 'alice', jid: alice.jid };
      evil.inject(ben.jid, absence(who, ben.jid));
      evil.inject(ben.jid, hello.stanza);
      return await deliver(evil, ben, question(alice.jid, ben.jid, held.signed));
    }),
  },
  {
    name: 'server uses a request of one room in another',
    guard: 'envelope: names its room and sessions, sealed for its key',
    off: ['envelope.room', 'envelope.senderSession', 'envelope.receiverSession', 'box.key'],
    async attack(on) {
      await using homes = await openHome();
      const [a, b] = [`${homes.path}/a`, `${homes.path}/b`];
      const both = async (room: string) =>
        [
          await on.open('alice', room, { home: a, resource: 'same' }),
          await on.open('ben', room, { home: b, resource: 'same' }),
        ] as const;
      await using stack = new AsyncDisposableStack();
      const [alice, ben] = await both(on.newRoom());
      await acquainted(alice, ben);
      const held = await intercept(on.evil, alice, ben, leaseRequest());
      held[Symbol.dispose]();
      const key = ben.circle.boxKey;
      await alice[Symbol.asyncDispose]();
      await ben[Symbol.asyncDispose]();
      const [later, victim] = await both(on.newRoom());
      stack.use(later);
      stack.use(victim);
      await acquainted(later, victim);
      using _ = leak({ key });
      return await deliver(on.evil, victim, question(later.jid, victim.jid, held.signed));
    },
  },
  {
    name: 'server puts the body of one request under the head of another',
    guard: 'envelope: signature over all, box bound to its head',
    off: ['envelope.signature', 'box.info'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      using head = await intercept(evil, alice, ben, leaseRequest());
      using body = await intercept(evil, alice, ben, { ...leaseRequest(), memoryMiB: 4096 });
      const [one, other] = [readEnvelope(head.signed), readEnvelope(body.signed)];
      using _ = leak({ info: boxInfo(other, alice.device.key) });
      const spliced = `${head.signed.slice(0, 87)}${asciiJson({ ...one, enc: other.enc, box: other.box })}`;
      return await deliver(evil, ben, question(alice.jid, ben.jid, spliced));
    }),
  },
  {
    name: 'server gives a request another purpose',
    guard: 'envelope: signature over all, box bound to its head; mailbox: purpose and kind agree',
    off: ['envelope.signature', 'box.info', 'mailbox.purpose'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      using held = await intercept(evil, alice, ben, leaseRequest());
      const envelope = readEnvelope(held.signed);
      using _ = leak({ info: boxInfo(envelope, alice.device.key) });
      const changed = `${held.signed.slice(0, 87)}${asciiJson({ ...envelope, purpose: 'lease.end' })}`;
      return await deliver(evil, ben, question(alice.jid, ben.jid, changed));
    }),
  },
  {
    name: 'server delivers an answer as a question',
    guard: 'envelope: no answer where none was asked for; mailbox: schema, purpose',
    off: ['envelope.question', 'mailbox.schema', 'mailbox.purpose'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      const answered = evil.take(isAnswer(ben, alice));
      const stop = new AbortController();
      const asked = alice.mailbox.request(ben.jid, leaseRequest(), { signal: stop.signal }).catch(() => {});
      const { stanza } = await answered;
      stop.abort();
      await asked;
      return await deliver(evil, alice, question(ben.jid, alice.jid, textOf(stanza)));
    }),
  },
  {
    name: 'server answers a request with the answer to an earlier one',
    guard: 'envelope: an answer names its question',
    off: ['envelope.question'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      const { lease } = await alice.mailbox.request(ben.jid, leaseRequest());
      const answered = evil.take(isAnswer(ben, alice));
      const stop = new AbortController();
      const first = alice.mailbox.request(ben.jid, renew(lease, 11), { signal: stop.signal }).catch(() => {});
      const old = textOf((await answered).stanza);
      stop.abort();
      await first;
      return await answering(evil, alice, ben, renew(lease, 22), (id) => answer(ben.jid, alice.jid, id, old));
    }),
  },
  {
    name: 'server answers a request itself',
    guard: 'envelope: signed by its sender',
    off: ['envelope.signature'],
    attack: amongFriends(async ({ evil, alice, ben }) =>
      answering(evil, alice, ben, leaseRequest(), async (id, signed) =>
        answer(
          ben.jid,
          alice.jid,
          id,
          await forge(
            strangeDevice(),
            ben,
            alice,
            'lease.request.reply',
            asciiJson({ reply: { lease: 'forged', seconds: 90 } }),
            {
              re: idOf(signed),
            },
          ),
        ),
      ),
    ),
  },
  {
    name: 'server says no in the name of an owner',
    guard: 'mailbox: a refusal that is not sealed is nobody’s word',
    off: ['mailbox.unsealed'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      const outcome = await answering(evil, alice, ben, leaseRequest(), (id) =>
        xml(
          'iq',
          { type: 'error', id, from: ben.jid, to: alice.jid },
          xml(
            'error',
            { type: 'cancel' },
            xml('undefined-condition', { xmlns: STANZA_ERROR_NS }),
            xml('kith', { xmlns: KITH_NS }, asciiJson({ code: 'job.refused', message: 'the owner said no' })),
          ),
        ),
      );
      return outcome === 'refused: job.refused' ? 'succeeded' : outcome;
    }),
  },
  {
    name: 'server reads what friends say',
    guard: 'envelope: sealed for its receiver (HPKE)',
    off: ['box.seal'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      using held = await intercept(evil, alice, ben, leaseRequest());
      const text = Buffer.from(readEnvelope(held.signed).box, 'base64').toString();
      return text.includes('"kind":"lease.request"') ? 'succeeded' : 'refused: it reads noise';
    }),
  },
  {
    name: 'another member reads what is not for it',
    guard: 'envelope: sealed for one key',
    off: ['box.key'],
    attack: amongFriends(async ({ evil, alice, ben, cleo }) => {
      using held = await intercept(evil, alice, ben, leaseRequest());
      using _ = leak({ key: ben.circle.boxKey });
      // Cleo looks past all names on the envelope: her own program checks nothing.
      return await without(['envelope.receiver', 'envelope.receiverSession'], () =>
        cleo.circle.open(alice.jid, held.signed).then(
          () => 'succeeded',
          (error: Error) => `refused: ${error.message.replace(/^.*refused: /, '')}` as const,
        ),
      );
    }),
  },
];

attacks(rows, () => world);
