/** Whole peers under attack: leases and plans of hostile members, signals of outsiders, and a server that sits inside a data channel. */
import { afterAll, beforeAll, vi } from 'vitest';
import { asciiJson } from '../../src/base/ascii.ts';
import { KithError } from '../../src/base/errors.ts';
import { newId } from '../../src/base/ids.ts';
import { silentLog } from '../../src/base/log.ts';
import { checkJob } from '../../src/job/define.ts';
import type { Ask } from '../../src/job/guest-client.ts';
import { startJob, type JobRun } from '../../src/job/initiator.ts';
import type { PeerOptions } from '../../src/peer/options.ts';
import type { Peer } from '../../src/peer/peer.ts';
import type { Plan } from '../../src/protocol/plan.ts';
import { idOf, readEnvelope } from '../../src/trust/envelope.ts';
import { signBans, signCertificate } from '../../src/trust/membership.ts';
import type { SignalPipe } from '../../src/wire/signaling.ts';
import { openWebrtc } from '../../src/wire/webrtc.ts';
import { leaseRequest, type Friend } from '../harness/evil-friends.ts';
import { openEvilPeer, planOf } from '../harness/evil-peers.ts';
import { isOff } from '../harness/evil-guards.ts';
import { attacks, type Attack, type Outcome } from '../harness/evil-rows.ts';
import type { EvilServer } from '../harness/evil-server.ts';
import { ran } from '../harness/evil-stand-ins.ts';
import { openEvilWorld, type EvilWorld } from '../harness/evil-world.ts';
import {
  absence,
  answer,
  forge,
  question,
  reasonOf,
  strangeDevice,
  textOf,
  type Known,
} from '../harness/evil-words.ts';
import { virtualClock } from '../harness/virtual-clock.ts';
import { capacityOf, soon } from '../harness/xmpp.ts';

vi.mock('../../src/guest/guest.ts', async () => (await import('../harness/evil-stand-ins.ts')).fakeGuests);
vi.mock('../../src/guest/probe.ts', async () => ({
  probeHost: (await import('../harness/evil-stand-ins.ts')).soundHost,
}));
vi.mock('../../src/job/images.ts', async () => ({
  createImageExchange: (await import('../harness/evil-stand-ins.ts')).fakeImages,
}));

let world: EvilWorld;
beforeAll(async () => {
  world = await openEvilWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

interface Stage {
  readonly evil: EvilServer;
  /** A program of its own with good keys: honest or hostile, as the attack wants. */
  readonly alice: Friend;
  readonly mallory: Friend;
  /** The peer under attack. */
  readonly ben: Peer;
}

const onStage =
  (act: (stage: Stage) => Promise<Outcome>, options: Partial<PeerOptions> = {}) =>
  async (on: EvilWorld): Promise<Outcome> => {
    const room = on.newRoom();
    await using alice = await on.open('alice', room);
    await using mallory = await on.open('mallory', room);
    await using ben = await openEvilPeer(on, 'ben', room, options);
    for (const friend of [alice, mallory]) await knows(friend, ben);
    return await act({ evil: on.evil, alice, mallory, ben });
  };

async function knows(friend: Friend, peer: Peer): Promise<void> {
  await vi.waitFor(() => {
    if (!friend.circle.member(peer.self) || !peer.trust.circle.member(friend.jid)) throw new Error('not yet');
  }, soon);
}

const codeOf = (asked: Promise<unknown>): Promise<Outcome> =>
  asked.then(
    () => 'succeeded',
    (error: unknown) =>
      `refused: ${error instanceof KithError ? `${error.code}, ${error.message}` : String(error)}` as const,
  );

/** Alice has a lease on Ben's machine. */
async function leased({ alice, ben }: Stage): Promise<{ readonly job: string; readonly lease: string }> {
  const job = newId();
  const { lease } = await alice.mailbox.request(ben.self, leaseRequest(job));
  return { job, lease };
}

/** Alice's plan after an honest lease; it succeeded if Ben carries it out. */
const planning = (change: (plan: Plan, stage: Stage) => Plan) =>
  onStage(async (stage) => {
    const { alice, ben } = stage;
    const { job, lease } = await leased(stage);
    const plan = planOf({ job, initiator: alice.jid, peers: [alice.jid, ben.self] });
    const outcome = await codeOf(
      alice.mailbox.request(ben.self, { kind: 'plan.apply', lease, plan: change(plan, stage) }),
    );
    return ben.worker.hostings.length > 0 ? 'succeeded' : outcome;
  });

/** Alice's guest runs on Ben's machine; what Mallory then asks with Alice's lease. */
const withGuest = (act: (stage: Stage, lease: string, job: string) => Promise<Outcome>) =>
  onStage(async (stage) => {
    const { alice, ben } = stage;
    const { job, lease } = await leased(stage);
    const plan = planOf({ job, initiator: alice.jid, peers: [alice.jid, ben.self] });
    await alice.mailbox.request(ben.self, { kind: 'plan.apply', lease, plan });
    await vi.waitFor(() => {
      if (!ben.worker.hostings[0]?.running) throw new Error('not yet');
    }, soon);
    return await act(stage, lease, job);
  });

const guests = (plan: Plan, change: (guest: Plan['guests'][number]) => Partial<Plan['guests'][number]>): Plan => ({
  ...plan,
  guests: plan.guests.map((guest) => ({ ...guest, ...change(guest) })),
});

const offer = { type: 'offer', sdp: 'v=0\r\n' };

/** Ben and Cleo are about to get a plan that gives them a link; the server knows it, and is ready. */
interface Couple {
  readonly evil: EvilServer;
  readonly job: string;
  readonly ben: Known;
  readonly cleo: Known;
  readonly start: () => Promise<void>;
}

const betweenTwo =
  (act: (couple: Couple) => Promise<Outcome>) =>
  async (on: EvilWorld): Promise<Outcome> => {
    const room = on.newRoom();
    await using alice = await on.open('alice', room);
    await using ben = await openEvilPeer(on, 'ben', room);
    await using cleo = await openEvilPeer(on, 'cleo', room);
    await knows(alice, ben);
    await knows(alice, cleo);
    await vi.waitFor(() => {
      if (!ben.trust.circle.member(cleo.self) || !cleo.trust.circle.member(ben.self)) throw new Error('not yet');
    }, soon);
    const job = newId();
    const peers = [ben, cleo];
    const leases = await Promise.all(peers.map(({ self }) => alice.mailbox.request(self, leaseRequest(job))));
    const plan = planOf({ job, initiator: alice.jid, peers: [alice.jid, ben.self, cleo.self] });
    const start = async () => {
      const apply = ({ self }: Peer, index: number) =>
        alice.mailbox.request(self, { kind: 'plan.apply', lease: leases[index]!.lease, plan });
      await Promise.all(peers.map(apply));
    };
    const known = ({ self, trust, room: seat }: Peer): Known => ({ jid: self, ...trust, room: seat });
    return await act({ evil: on.evil, job, ben: known(ben), cleo: known(cleo), start });
  };

/** What an envelope says to whoever carries it: nothing, unless it is not sealed. */
function readSignal(
  signed: string,
): { readonly session: string; readonly channel: string; readonly data: unknown } | undefined {
  try {
    return JSON.parse(Buffer.from(readEnvelope(signed).box, 'base64').toString()) as ReturnType<typeof readSignal>;
  } catch {
    return undefined;
  }
}

const purposeOf = (signed: string): string => {
  try {
    return readEnvelope(signed).purpose;
  } catch {
    return '';
  }
};

/** One half of the man in the middle: a data channel to `to` in the name of `as`. Resolves when the first batch of `to` is read. */
function impersonate(couple: Couple, as: Known, to: Known, offers: boolean, signal: AbortSignal): Promise<Outcome> {
  const { evil, job } = couple;
  const mine = strangeDevice();
  const done = Promise.withResolvers<Outcome>();
  const early: unknown[] = [];
  let session = offers ? newId() : undefined;
  let handler: ((data: unknown) => void) | undefined;
  let counter = 500;
  const sealed = async (purpose: string, message: unknown, more: { re?: string } = {}) => {
    const text = asciiJson(message).padEnd(24); // shorter ones no schema takes
    const plain = isOff('box.open') ? { box: Buffer.from(text).toString('base64') } : {};
    return forge(mine, as, to, purpose, text, { counter: ++counter, ...more, ...plain });
  };
  const pipe: SignalPipe = {
    async send(data) {
      const signed = await sealed('signal', { kind: 'signal', channel: `link:${job}:2-3:webrtc`, session, data });
      const reply = await evil.ask(to.jid, question(as.jid, to.jid, signed));
      if (reply.attrs['type'] === 'error') done.resolve(`refused: ${reasonOf(reply)}`);
    },
    onData(next) {
      handler = next;
      for (const data of early.splice(0)) next(data);
      return () => {};
    },
  };
  const open = () =>
    openWebrtc({
      offer: offers,
      pipe,
      bindAddress: '127.0.0.1',
      log: silentLog,
      signal,
      onBatch: () => done.resolve('succeeded'),
    }).catch((error: Error) => done.resolve(`refused: ${error.message}`));
  const stop = evil.run(({ client, direction, stanza }) => {
    const signed = textOf(stanza);
    if (client !== to.jid || direction !== 'toServer' || stanza.attrs['to'] !== as.jid) return undefined;
    if (stanza.attrs['type'] !== 'set' || purposeOf(signed) !== 'signal') return undefined;
    const heard = readSignal(signed);
    if (heard && !heard.channel.endsWith(':webrtc')) return 'drop';
    if (!heard) {
      if (!offers) done.resolve('refused: it reads noise');
      return 'drop';
    }
    void sealed('signal.reply', { reply: {} }, { re: idOf(signed) }).then((reply) =>
      evil.inject(to.jid, answer(as.jid, to.jid, String(stanza.attrs['id']), reply)),
    );
    if (session === undefined) {
      ({ session } = heard);
      void open();
    }
    if (handler) handler(heard.data);
    else early.push(heard.data);
    return 'drop';
  });
  signal.addEventListener('abort', stop);
  if (offers) void open();
  return done.promise;
}

/** Mallory has a lease on Ben's machine and is banned; it succeeded if he keeps it. */
const banningHolder =
  (before: (evil: EvilServer, mallory: Friend, ben: Peer) => void) =>
  async (on: EvilWorld): Promise<Outcome> => {
    const inviter = strangeDevice();
    const room = on.newRoom();
    await using mallory = await on.open('mallory', room, { trust: { inviter: inviter.key } });
    const certificate = signCertificate(inviter, {
      room,
      device: mallory.device.key,
      account: mallory.account,
      since: Date.now() - 1000,
      until: Date.now() + 3_600_000,
    });
    await using ben = await openEvilPeer(on, 'ben', room, { trust: { inviter: inviter.key, save: async () => {} } });
    mallory.circle.certify(certificate);
    mallory.room.announce();
    await vi.waitFor(() => {
      if (ben.trust.circle.member(mallory.jid)?.trust !== 'invited' || !mallory.circle.member(ben.self))
        throw new Error('not yet');
    }, soon);
    await mallory.mailbox.request(ben.self, leaseRequest());
    before(on.evil, mallory, ben);
    // What was injected has been dealt with when something that came later has.
    await mallory.mailbox.request(ben.self, { kind: 'lease.end', lease: 'none', reason: 'none' }).catch(() => {});
    await ben.trust.circle.adoptBans(signBans(inviter, { room, epoch: 1, banned: [mallory.device.key] }));
    await new Promise(setImmediate); // the last of an ended lease goes in the same turn
    return ben.worker.inUse.guests > 0 ? 'succeeded' : 'refused: the lease has ended';
  };

const rows: readonly Attack<EvilWorld>[] = [
  {
    name: 'stranger without a certificate asks for a lease in a room that gives them',
    guard: 'peer: strangers are not heard',
    off: ['peer.stranger'],
    attack: (on) =>
      onStage(async ({ mallory, ben }) => codeOf(mallory.mailbox.request(ben.self, leaseRequest())), {
        trust: { inviter: strangeDevice().key, save: async () => {} },
      })(on),
  },
  {
    name: 'member asks the machine of an initiator for a lease',
    guard: 'peer: an initiator hosts nothing of others',
    off: ['peer.mayAsk'],
    attack: onStage(async ({ mallory, ben }) => codeOf(mallory.mailbox.request(ben.self, leaseRequest())), {
      role: 'initiator',
    }),
  },
  {
    name: 'member asks for more memory than the owner allows',
    guard: 'policy: the limits of the owner',
    off: ['policy.memory'],
    attack: onStage(async ({ mallory, ben }) =>
      codeOf(mallory.mailbox.request(ben.self, { ...leaseRequest(), memoryMiB: 50_000 })),
    ),
  },
  {
    name: 'plan with more memory than was leased',
    guard: 'worker: nothing beyond the lease',
    off: ['plan.resources'],
    attack: planning((plan) => guests(plan, () => ({ memoryMiB: 9000 }))),
  },
  {
    name: 'plan with another image than was leased',
    guard: 'worker: nothing beyond the lease',
    off: ['plan.image'],
    attack: planning((plan) => guests(plan, ({ image }) => ({ image: { ...image, hash: 'b'.repeat(64) } }))),
  },
  {
    name: 'plan of another job under this lease',
    guard: 'worker: nothing beyond the lease',
    off: ['plan.job'],
    attack: planning((plan) => ({ ...plan, job: { ...plan.job, id: newId() } })),
  },
  {
    name: 'plan in the name of another initiator, whose master key and image would then count',
    guard: 'worker: nothing beyond the lease',
    off: ['plan.job'],
    attack: planning((plan, { mallory }) => ({ ...plan, job: { ...plan.job, initiator: mallory.jid } })),
  },
  {
    name: 'plan that places the guests of other peers here',
    guard: 'worker: only the guest that the plan names for us',
    off: ['plan.self'],
    attack: planning((plan, { mallory }) =>
      guests(plan, ({ role }) => (role === 'worker' ? { peer: mallory.jid } : {})),
    ),
  },
  {
    name: 'plan whose guests have the same hardware address',
    guard: 'plan: what a schema cannot say',
    off: ['plan.rules'],
    attack: planning((plan) => ({
      ...guests(plan, () => ({ mac: '02:00:00:01:00:00' })),
      lan: { ...plan.lan, slots: plan.lan.slots.map((slot) => ({ ...slot, mac: '02:00:00:01:00:00' })) },
    })),
  },
  {
    name: 'older plan after a newer one',
    guard: 'worker: revisions only grow',
    off: ['plan.revision'],
    attack: withGuest(async ({ alice, mallory, ben }, lease, job) => {
      const plan = (revision: number, peers: readonly string[]) =>
        planOf({ job, initiator: alice.jid, peers, revision });
      const apply = (next: Plan) => alice.mailbox.request(ben.self, { kind: 'plan.apply', lease, plan: next });
      await apply(plan(3, [alice.jid, ben.self]));
      await apply(plan(2, [alice.jid, ben.self, mallory.jid]));
      const now = ben.worker.hostings[0]?.plan.job.revision;
      return now === 2 ? 'succeeded' : `refused: revision ${now} stands`;
    }),
  },
  {
    name: 'plan that moves a running guest to another place on the LAN',
    guard: 'worker: a guest keeps its place',
    off: ['plan.place'],
    attack: withGuest(async ({ alice, mallory, ben }, lease, job) =>
      codeOf(
        alice.mailbox.request(ben.self, {
          kind: 'plan.apply',
          lease,
          plan: planOf({ job, initiator: alice.jid, peers: [alice.jid, mallory.jid, ben.self], revision: 2 }),
        }),
      ),
    ),
  },
  {
    name: 'member runs a command in a guest of somebody else',
    guard: 'lease: only its holder uses it',
    off: ['lease.holder'],
    attack: withGuest(async ({ mallory, ben }, lease) => {
      const before = ran.length;
      const outcome = await codeOf(
        mallory.mailbox.request(ben.self, { kind: 'guest.exec', lease, command: ['id'], timeoutSeconds: 5 }),
      );
      return ran.length > before ? 'succeeded' : outcome;
    }),
  },
  {
    name: 'member types on the console of a guest of somebody else',
    guard: 'lease: only its holder uses it',
    off: ['lease.holder'],
    attack: withGuest(async ({ mallory, ben }, lease) =>
      codeOf(mallory.mailbox.request(ben.self, { kind: 'guest.type', lease, data: 'cm0gLXJmIC8K' })),
    ),
  },
  {
    name: 'member captures the frames of a guest of somebody else',
    guard: 'lease: only its holder uses it',
    off: ['lease.holder'],
    attack: withGuest(async ({ mallory, ben }, lease) =>
      codeOf(mallory.mailbox.request(ben.self, { kind: 'capture.open', lease, snapLength: 1000 })),
    ),
  },
  {
    name: 'member cuts a link of somebody else',
    guard: 'lease: only its holder uses it',
    off: ['lease.holder'],
    attack: withGuest(async ({ mallory, ben }, lease) =>
      codeOf(mallory.mailbox.request(ben.self, { kind: 'link.set', lease, node: 1, wires: [] })),
    ),
  },
  {
    name: 'member ends the lease of somebody else',
    guard: 'lease: only its holder uses it',
    off: ['lease.holder'],
    attack: withGuest(async ({ mallory, ben }, lease) =>
      codeOf(mallory.mailbox.request(ben.self, { kind: 'lease.end', lease, reason: 'mine now' })),
    ),
  },
  {
    name: 'member outside the plan signals to a peer',
    guard: 'peer: signals of plan mates alone',
    off: ['peer.signal'],
    attack: withGuest(async ({ mallory, ben }, _lease, job) =>
      codeOf(
        mallory.mailbox.request(ben.self, {
          kind: 'signal',
          channel: `link:${job}:1-2`,
          session: newId(),
          data: offer,
        }),
      ),
    ),
  },
  {
    name: 'member asks for an image of a job in which it has no part',
    guard: 'peer: images for the own workers of a job',
    off: ['peer.image'],
    attack: onStage(async ({ mallory, ben }) => {
      const job = newId();
      ben.job = { id: job, places: [], onReport() {}, consider() {} } as unknown as JobRun;
      const fetch = { kind: 'image.fetch', job, hash: 'a'.repeat(64), channel: 'blob:1' } as const;
      const outcome = await codeOf(mallory.mailbox.request(ben.self, fetch));
      ben.job = undefined;
      return outcome;
    }),
  },
  {
    name: 'member reports to the initiator that the guest of another has failed',
    guard: 'initiator: reports of the holder of a place alone',
    off: ['report.holder'],
    async attack() {
      const stop = new AbortController();
      const lease = newId();
      const worker = 'ben@kith.internal/x';
      await using job = startJob({
        job: checkJob({
          name: 'mesh',
          topology: 'mesh',
          master: { image: 'micro', memoryMiB: 128 },
          worker: { image: 'micro', memoryMiB: 128, min: 2, max: 2 },
          run: async () => undefined,
        }),
        self: { jid: 'alice@kith.internal/x', nick: 'alice' },
        images: { micro: leaseRequest().image },
        masterKey: '',
        wires: ['stanza'],
        ask: (async (to: string) => ({ lease: to === worker ? lease : newId(), seconds: 90 })) as unknown as Ask,
        candidates: () => [{ peer: worker, nick: 'ben', alive: true, capacity: capacityOf() }],
        waitSeconds: undefined,
        clock: virtualClock(),
        log: silentLog,
        print: () => {},
        onState: () => {},
        signal: stop.signal,
      });
      const isThere = () => job.places.some(({ peer }) => peer === worker);
      await vi.waitFor(() => {
        if (!isThere()) throw new Error('not yet');
      }, soon);
      const report = { state: 'failed', reason: 'so I say', links: [] } as const;
      job.onReport('mallory@kith.internal/x', { kind: 'guest.report', job: job.id, lease, report });
      const outcome = isThere() ? 'refused: the place is kept' : 'succeeded';
      stop.abort();
      return outcome;
    },
  },
  {
    name: 'banned holder of a lease keeps it',
    guard: 'worker: leases of the banned end',
    off: ['peer.dismiss'],
    attack: banningHolder(() => {}),
  },
  {
    name: 'banned holder of a lease is hidden by the server while the ban comes',
    guard: 'worker: leases of the banned end, here or not',
    off: ['peer.dismiss'],
    attack: banningHolder((evil, mallory, ben) => {
      evil.inject(ben.self, absence({ room: ben.room.jid, nick: 'mallory', jid: mallory.jid }, ben.self));
    }),
  },
  {
    name: 'server opens a wire to a friend in the name of another',
    guard: 'envelope: signed by its sender',
    off: ['envelope.signature'],
    attack: betweenTwo(async ({ evil, job, ben, cleo, start }) => {
      const stop = evil.run(({ client, stanza }) =>
        client === ben.jid && stanza.attrs['to'] === cleo.jid && stanza.attrs['type'] === 'set' ? 'drop' : undefined,
      );
      await start();
      const message = { kind: 'signal', channel: `link:${job}:2-3:webrtc`, session: newId(), data: offer };
      const signed = await forge(strangeDevice(), ben, cleo, 'signal', asciiJson(message));
      const reply = await evil.ask(cleo.jid, question(ben.jid, cleo.jid, signed));
      stop();
      return reply.attrs['type'] === 'error' ? `refused: ${reasonOf(reply)}` : 'succeeded';
    }),
  },
  {
    name: 'server sits inside a wire: swapped offers, answers and DTLS fingerprints',
    guard: 'envelope: sealed and signed, fingerprints included',
    off: ['envelope.signature', 'box.seal', 'box.open'],
    attack: betweenTwo(async (couple) => {
      const { ben, cleo, start } = couple;
      const over = new AbortController();
      // Ben has the lower node and offers; the server answers him as Cleo, and offers to Cleo as Ben.
      const sides = [
        impersonate(couple, cleo, ben, false, over.signal),
        impersonate(couple, ben, cleo, true, over.signal),
      ];
      await start();
      const outcomes = await Promise.all(sides);
      over.abort();
      return outcomes.find((outcome) => outcome !== 'succeeded') ?? 'succeeded';
    }),
  },
];

attacks(rows, () => world);
