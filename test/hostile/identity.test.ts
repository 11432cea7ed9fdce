/** Who is who: stolen and forged hellos, keys, certificates, vouches, and lists of bans that are forged, old or kept from us. */
import { afterAll, beforeAll, expect, vi } from 'vitest';
import { createBoxKey, openBox } from '../../src/trust/box.ts';
import type { Device } from '../../src/trust/device.ts';
import { errorCode } from '../../src/base/errors.ts';
import { registerAccount } from '../../src/xmpp/register.ts';
import { openGate } from '../../src/trust/gate.ts';
import { boxInfo, readEnvelope } from '../../src/trust/envelope.ts';
import { readHello, signHello, type Hello } from '../../src/trust/hello.ts';
import { signBans, signCertificate, signVouch, type Certificate } from '../../src/trust/membership.ts';
import { leaseRequest, openHome, type Friend } from '../harness/evil-friends.ts';
import { attacks, type Attack, type Outcome } from '../harness/evil-rows.ts';
import { acquainted, amongFriends, openEvilWorld, type EvilWorld } from '../harness/evil-world.ts';
import { absence, deliver, intercept, presence, question, strangeDevice } from '../harness/evil-words.ts';
import { capacityOf, settle, soon } from '../harness/xmpp.ts';

let world: EvilWorld;
beforeAll(async () => {
  world = await openEvilWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

const judge = (success: boolean, why: string | undefined): Outcome =>
  success ? 'succeeded' : `refused: ${why ?? 'it is not believed'}`;

/** A presence reaches the victim and has been dealt with when the victim has answered what came after it. */
async function show(victim: Friend, who: { nick: string; jid: string }, hello?: string): Promise<void> {
  world.evil.inject(victim.jid, presence({ ...who, room: victim.room.jid }, victim.jid, hello));
  await settle(victim.session);
}

/** All that a hello says, as this friend would say it now. */
const lastHello = (friend: Friend): Hello => readHello(friend.circle.hello(capacityOf()));

/** A newcomer whose hello is as it should be. */
async function newcomer(victim: Friend, device: Device, account = 'mallory@kith.internal'): Promise<Hello> {
  return {
    room: victim.room.jid,
    jid: `${account}/kith-1`,
    device: device.key,
    box: (await createBoxKey()).key,
    session: 'A'.repeat(22),
    counter: 1,
    capacity: capacityOf(),
  };
}

/** More than a circle remembers. */
const CROWD = 1100;

/** The victim's room gives certificates: the inviter signs them. */
const HOUR = 3_600_000;

interface Invited extends AsyncDisposable {
  readonly victim: Friend;
  readonly inviter: Device;
  readonly room: string;
  certificate(device: string, account: string, more?: Partial<Certificate>): string;
}

async function invited(
  on: EvilWorld,
  more: { readonly bans?: (inviter: Device, room: string) => string } = {},
): Promise<Invited> {
  const room = on.newRoom();
  const inviter = strangeDevice();
  const victim = await on.open('ben', room, {
    trust: { inviter: inviter.key, ...(more.bans ? { bans: more.bans(inviter, room) } : {}) },
  });
  return {
    victim,
    inviter,
    room,
    certificate: (device, account, other = {}) =>
      signCertificate(inviter, { room, device, account, since: Date.now() - HOUR, until: Date.now() + HOUR, ...other }),
    [Symbol.asyncDispose]: () => victim[Symbol.asyncDispose](),
  };
}

/** Somebody comes with this certificate (or vouch); it succeeded if he counts as invited. */
const coming =
  (papers: (room: Invited, device: Device, account: string) => Partial<Hello>) =>
  async (on: EvilWorld): Promise<Outcome> => {
    await using room = await invited(on);
    const device = strangeDevice();
    const hello = await newcomer(room.victim, device);
    const account = hello.jid.split('/')[0]!;
    await show(
      room.victim,
      { nick: 'mallory', jid: hello.jid },
      signHello(device, { ...hello, ...papers(room, device, account) }),
    );
    const member = room.victim.circle.member(hello.jid);
    return judge(member?.trust === 'invited' || member?.trust === 'vouched', member?.because);
  };

/** A list of bans reaches the victim inside the hello of somebody; it succeeded if the victim obeys it. */
const banning =
  (list: (room: Invited, alice: string, by: Device) => string, before?: (inviter: Device, room: string) => string) =>
  async (on: EvilWorld): Promise<Outcome> => {
    await using room = await invited(on, before ? { bans: before } : {});
    const { victim } = room;
    const alice = strangeDevice();
    const hello = await newcomer(victim, alice, 'alice@kith.internal');
    const certificate = room.certificate(alice.key, 'alice@kith.internal');
    await show(victim, { nick: 'alice', jid: hello.jid }, signHello(alice, { ...hello, certificate }));
    const epoch = victim.circle.epoch;
    const mallory = strangeDevice();
    const carrier = await newcomer(victim, mallory);
    await show(
      victim,
      { nick: 'mallory', jid: carrier.jid },
      signHello(mallory, { ...carrier, bans: list(room, alice.key, mallory) }),
    );
    await new Promise(setImmediate);
    return judge(victim.circle.epoch !== epoch, 'the list is not obeyed');
  };

const rows: readonly Attack<EvilWorld>[] = [
  {
    name: 'server puts its own key into the hello of a friend, to read what is sealed for him',
    guard: 'hello: signed by its device',
    off: ['hello.signature'],
    attack: amongFriends(async ({ alice, ben }) => {
      const { key } = await createBoxKey();
      await show(ben, { nick: 'alice', jid: alice.jid }, signHello(strangeDevice(), { ...lastHello(alice), box: key }));
      return judge(ben.circle.member(alice.jid)?.box === key, 'the old hello stands');
    }),
  },
  {
    name: 'another account shows the hello of a friend',
    guard: 'hello: names its full address',
    off: ['hello.jid'],
    attack: amongFriends(async ({ alice, ben }) => {
      const jid = 'mallory@kith.internal/x';
      await show(ben, { nick: 'mallory', jid }, alice.circle.hello(capacityOf()));
      return judge(ben.circle.member(jid)?.device === alice.device.key, ben.circle.refusal(jid));
    }),
  },
  {
    name: 'server shows the hello that a friend made for another room',
    guard: 'hello: names its room',
    off: ['hello.room'],
    async attack(on) {
      await using alice = await on.open('alice', on.newRoom());
      await using ben = await on.open('ben', on.newRoom());
      await show(ben, { nick: 'alice', jid: alice.jid }, alice.circle.hello(capacityOf()));
      return judge(ben.circle.member(alice.jid) !== undefined, ben.circle.refusal(alice.jid));
    },
  },
  {
    name: 'server replaces a friend who is there by a key of its own',
    guard: 'hello: one key while here; known accounts come with known keys',
    off: ['hello.device', 'hello.newKey'],
    attack: amongFriends(async ({ alice, ben }) => {
      const evil = strangeDevice();
      await show(ben, { nick: 'alice', jid: alice.jid }, signHello(evil, { ...lastHello(alice), device: evil.key }));
      return judge(ben.circle.member(alice.jid)?.device === evil.key, 'the old hello stands');
    }),
  },
  {
    name: 'a new device key comes under a known account',
    guard: 'hello: known accounts come with known keys',
    off: ['hello.newKey'],
    attack: amongFriends(async ({ alice, ben }) => {
      const evil = strangeDevice();
      const jid = `${alice.account}/new-laptop`;
      await show(ben, { nick: 'alice-2', jid }, signHello(evil, { ...lastHello(alice), jid, device: evil.key }));
      return judge(ben.circle.member(jid) !== undefined, ben.circle.refusal(jid));
    }),
  },
  {
    name: 'impostor takes the nick and account of a friend who has just left',
    guard: 'hello: known accounts come with known keys',
    off: ['hello.newKey'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      const who = { room: ben.room.jid, nick: 'alice', jid: alice.jid };
      evil.inject(ben.jid, absence(who, ben.jid));
      const impostor = strangeDevice();
      const hello = { ...lastHello(alice), device: impostor.key };
      await show(ben, who, signHello(impostor, hello));
      return judge(ben.circle.member(alice.jid)?.device === impostor.key, ben.circle.refusal(alice.jid));
    }),
  },
  {
    name: 'server shows an older hello of a friend, with capacity that is gone',
    guard: 'hello: counts with all that its sender says',
    off: ['hello.order'],
    attack: amongFriends(async ({ alice, ben }) => {
      const who = { nick: 'alice', jid: alice.jid };
      const old = alice.circle.hello(capacityOf({ memoryMiB: 4096 }));
      await show(ben, who, alice.circle.hello(capacityOf({ memoryMiB: 0 })));
      await show(ben, who, old);
      return judge(ben.circle.member(alice.jid)?.capacity.memoryMiB === 4096, 'the newer hello stands');
    }),
  },
  {
    name: 'server makes us forget a friend, then shows an older hello of it',
    guard: 'history: outlives an absence',
    off: ['hello.order'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      const who = { room: ben.room.jid, nick: 'alice', jid: alice.jid };
      const old = alice.circle.hello(capacityOf({ memoryMiB: 4096 }));
      await show(ben, who, alice.circle.hello(capacityOf({ memoryMiB: 0 })));
      evil.inject(ben.jid, absence(who, ben.jid));
      await show(ben, who, old);
      return judge(ben.circle.member(alice.jid) !== undefined, ben.circle.refusal(alice.jid));
    }),
  },
  {
    name: 'server shows a hello of a session that a friend has ended, with keys that may be stolen',
    guard: 'history: an ended session stays ended',
    off: ['hello.session'],
    async attack(on) {
      await using home = await openHome();
      const room = on.newRoom();
      await using ben = await on.open('ben', room);
      let old = '';
      let stolen = '';
      {
        await using alice = await on.open('alice', room, { home: home.path, resource: 'same' });
        await acquainted(alice, ben);
        old = alice.circle.hello(capacityOf());
        stolen = alice.circle.boxKey.key;
      }
      await using alice = await on.open('alice', room, { home: home.path, resource: 'same' });
      await acquainted(alice, ben);
      await vi.waitFor(() => expect(ben.circle.member(alice.jid)?.box).toBe(alice.circle.boxKey.key), soon);
      await show(ben, { nick: 'alice', jid: alice.jid }, old);
      return judge(ben.circle.member(alice.jid)?.box === stolen, 'the newer session stands');
    },
  },
  {
    name: 'server sends a crowd until we have forgotten a friend, then repeats what he asked',
    guard: 'history: what is older than the forgotten is refused',
    off: ['history.floor'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      const who = { room: ben.room.jid, nick: 'alice', jid: alice.jid };
      const hello = alice.circle.hello(capacityOf());
      using held = await intercept(evil, alice, ben, leaseRequest());
      await deliver(evil, ben, question(alice.jid, ben.jid, held.signed));
      evil.inject(ben.jid, absence(who, ben.jid));
      const ghost = strangeDevice();
      const shape = await newcomer(ben, ghost);
      for (let index = 0; index < CROWD; index++) {
        const somebody = { room: ben.room.jid, nick: `ghost-${index}`, jid: `ghost-${index}@kith.internal/x` };
        const signed = signHello(ghost, { ...shape, jid: somebody.jid });
        evil.inject(ben.jid, presence(somebody, ben.jid, signed));
        evil.inject(ben.jid, absence(somebody, ben.jid));
      }
      await show(ben, who, hello);
      return await deliver(evil, ben, question(alice.jid, ben.jid, held.signed));
    }),
  },
  {
    name: 'a peer without a hello asks for a lease',
    guard: 'circle: only members are heard',
    off: ['circle.unknown', 'envelope.sender'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      using held = await intercept(evil, alice, ben, leaseRequest());
      const stranger = 'mallory@kith.internal/x';
      return await deliver(evil, ben, question(stranger, ben.jid, held.signed));
    }),
  },
  {
    name: 'capacity of more memory than there is in the world',
    guard: 'hello: capacity has a schema with limits',
    off: ['schema.capacity'],
    attack: amongFriends(async ({ ben }) => {
      const device = strangeDevice();
      const hello = { ...(await newcomer(ben, device)), capacity: capacityOf({ memoryMiB: 1e300, cpus: -1 }) };
      await show(ben, { nick: 'mallory', jid: hello.jid }, signHello(device, hello));
      return judge(ben.circle.member(hello.jid) !== undefined, 'it is no member');
    }),
  },
  {
    name: 'server enters the room by the token with which it made an account for a friend',
    guard: 'token: the server hears a digest of it',
    off: ['token.client', 'token.server'],
    async attack({ evil, prosody }) {
      const { host, domain, fingerprint } = prosody.server;
      const [gate, now] = [openGate(), Date.now()];
      const terms = { expires: now + HOUR, uses: 1 };
      const token = await prosody.server.createToken(terms);
      gate.issue({ token, room: 'r@rooms.kith.internal', ...terms }, now);
      const username = `friend-${token.slice(0, 8)}`;
      await registerAccount({ host, port: evil.port, domain, fingerprint, token, username, password: 'secret' });
      const mine = { token: evil.tokens.at(-1) ?? '', room: 'r@rooms.kith.internal', device: strangeDevice().key };
      try {
        gate.admit(mine, now);
        return 'succeeded';
      } catch (error) {
        return `refused: ${errorCode(error)}`;
      }
    },
  },
  {
    name: 'somebody makes a certificate for himself',
    guard: 'certificate: from whoever invites',
    off: ['certificate.inviter'],
    attack: coming((room, device, account) => ({
      certificate: signCertificate(device, {
        room: room.room,
        device: device.key,
        account,
        since: Date.now() - HOUR,
        until: Date.now() + HOUR,
      }),
    })),
  },
  {
    name: 'somebody forges the certificate of the inviter',
    guard: 'certificate: signed by the key it names',
    off: ['statement.signature'],
    attack: coming((room, device, account) => {
      const signed = room.certificate(device.key, account);
      return { certificate: `${'A'.repeat(86)}${signed.slice(86)}` };
    }),
  },
  {
    name: 'somebody shows the certificate of another device',
    guard: 'certificate: for one device',
    off: ['certificate.device'],
    attack: coming((room, _, account) => ({ certificate: room.certificate(strangeDevice().key, account) })),
  },
  {
    name: 'a certified device comes under another account',
    guard: 'certificate: for one account',
    off: ['certificate.account'],
    attack: coming((room, device) => ({ certificate: room.certificate(device.key, 'alice@kith.internal') })),
  },
  {
    name: 'somebody shows a certificate of another room',
    guard: 'certificate: for one room',
    off: ['certificate.room'],
    attack: coming((room, device, account) => ({
      certificate: room.certificate(device.key, account, { room: 'other@rooms.kith.internal' }),
    })),
  },
  {
    name: 'somebody shows a certificate that has expired',
    guard: 'certificate: valid now',
    off: ['certificate.until'],
    attack: coming((room, device, account) => ({
      certificate: room.certificate(device.key, account, { until: Date.now() - HOUR / 2 }),
    })),
  },
  {
    name: 'somebody shows a certificate of next year',
    guard: 'certificate: valid now',
    off: ['certificate.since'],
    attack: coming((room, device, account) => ({
      certificate: room.certificate(device.key, account, {
        since: Date.now() + 1000 * HOUR,
        until: Date.now() + 2000 * HOUR,
      }),
    })),
  },
  {
    name: 'somebody vouches for himself',
    guard: 'vouch: by a device that is verified or invited',
    off: ['vouch.strong'],
    attack: coming((_, device) => ({ vouch: signVouch(device, device.key) })),
  },
  {
    name: 'a list of bans that a member made',
    guard: 'bans: from whoever invites',
    off: ['bans.inviter'],
    attack: banning((room, alice, by) => signBans(by, { room: room.room, epoch: 5, banned: [alice] })),
  },
  {
    name: 'a list of bans with a forged signature',
    guard: 'bans: signed by the key they name',
    off: ['statement.signature'],
    attack: banning((room, alice) => {
      const signed = signBans(room.inviter, { room: room.room, epoch: 5, banned: [alice] });
      return `${'A'.repeat(86)}${signed.slice(86)}`;
    }),
  },
  {
    name: 'a list of bans of another room',
    guard: 'bans: for one room',
    off: ['bans.room'],
    attack: banning((room, alice) =>
      signBans(room.inviter, { room: 'other@rooms.kith.internal', epoch: 5, banned: [alice] }),
    ),
  },
  {
    name: 'an older list of bans, from before somebody was thrown out',
    guard: 'bans: only newer ones count',
    off: ['bans.epoch'],
    attack: banning(
      (room) => signBans(room.inviter, { room: room.room, epoch: 2, banned: [] }),
      (inviter, room) => signBans(inviter, { room, epoch: 3, banned: [strangeDevice().key] }),
    ),
  },
  {
    name: 'a banned device comes back',
    guard: 'hello: not banned',
    off: ['hello.banned'],
    async attack(on) {
      const outcast = strangeDevice();
      await using room = await invited(on, {
        bans: (inviter, name) => signBans(inviter, { room: name, epoch: 1, banned: [outcast.key] }),
      });
      const hello = await newcomer(room.victim, outcast);
      const certificate = room.certificate(outcast.key, 'mallory@kith.internal');
      await show(room.victim, { nick: 'mallory', jid: hello.jid }, signHello(outcast, { ...hello, certificate }));
      return judge(room.victim.circle.member(hello.jid) !== undefined, room.victim.circle.refusal(hello.jid));
    },
  },
  {
    name: 'a banned member goes on with what it was doing',
    guard: 'hello and envelope: not banned',
    off: ['hello.banned', 'envelope.banned'],
    async attack(on) {
      const inviter = strangeDevice();
      const room = on.newRoom();
      await using ben = await on.open('ben', room, { trust: { inviter: inviter.key } });
      await using mallory = await on.open('mallory', room, { trust: { inviter: inviter.key } });
      await acquainted(ben, mallory);
      await ben.circle.adoptBans(signBans(inviter, { room, epoch: 1, banned: [mallory.device.key] }));
      const heard = ben.heard.length;
      const asked = mallory.mailbox.request(ben.jid, leaseRequest());
      const why = await asked.then(
        () => undefined,
        (error: Error) => error.message.replace(/^.*refused: /, ''),
      );
      return judge(ben.heard.length > heard, why);
    },
  },
  {
    name: 'server keeps a list of bans from one friend',
    guard: 'envelope: brings newer bans along',
    off: ['bans.spread'],
    async attack(on) {
      const inviter = strangeDevice();
      const room = on.newRoom();
      await using ben = await on.open('ben', room, { trust: { inviter: inviter.key } });
      await using cleo = await on.open('cleo', room, { trust: { inviter: inviter.key } });
      await using mallory = await on.open('mallory', room, { trust: { inviter: inviter.key } });
      await acquainted(ben, cleo, mallory);
      const stop = on.evil.run(({ client, direction, stanza }) =>
        client === cleo.jid && direction === 'toClient' && stanza.name === 'presence' ? 'drop' : undefined,
      );
      await ben.circle.adoptBans(signBans(inviter, { room, epoch: 1, banned: [mallory.device.key] }));
      // Ben has work for Cleo: whatever it is, it tells her.
      await ben.mailbox.request(cleo.jid, leaseRequest()).catch(() => {});
      const heard = cleo.heard.length;
      await mallory.mailbox.request(cleo.jid, leaseRequest()).catch(() => {});
      stop();
      return judge(cleo.heard.length > heard, cleo.circle.refusal(mallory.jid));
    },
  },
  {
    name: 'a banned member who still hears the room reads what comes after the ban',
    guard: 'ban: everybody moves to new keys',
    off: ['ban.rotate'],
    async attack(on) {
      const inviter = strangeDevice();
      const room = on.newRoom();
      await using alice = await on.open('alice', room, { trust: { inviter: inviter.key } });
      await using ben = await on.open('ben', room, { trust: { inviter: inviter.key } });
      await acquainted(alice, ben);
      // What was worth stealing while he was in: the key that Ben's process used then.
      const stolen = ben.circle.boxKey;
      const list = signBans(inviter, { room, epoch: 1, banned: [strangeDevice().key] });
      await ben.circle.adoptBans(list);
      await alice.circle.adoptBans(list);
      ben.room.announce();
      await vi.waitFor(() => expect(alice.circle.member(ben.jid)?.box).toBe(ben.circle.boxKey.key), soon);
      const held = await intercept(on.evil, alice, ben, leaseRequest());
      held[Symbol.dispose]();
      const { box, enc, ...head } = readEnvelope(held.signed);
      const read = await openBox(stolen, boxInfo(head, alice.device.key), { box, enc }).then(
        () => true,
        () => false,
      );
      return judge(read, 'the old key opens nothing');
    },
  },
];

attacks(rows, () => world);
