/** Composition root: the one place where session, room, mailbox, images, guests, wires, worker and control are plugged together. */
import { mkdir, statfs } from 'node:fs/promises';
import { systemClock } from '../base/clock.ts';
import { describeError, KithError } from '../base/errors.ts';
import type { PeerStatus } from '../control/api.ts';
import { openPeerDirectory } from '../control/directory.ts';
import { serveControl } from '../control/server.ts';
import { probeHost, type HostFacts } from '../guest/probe.ts';
import { openStore, type Store } from '../image/store.ts';
import type { Ask } from '../job/guest-client.ts';
import type { JobRun } from '../job/initiator.ts';
import { openWorker, type Worker, type WorkerDeps } from '../job/worker.ts';
import { createImageExchange, type ImageExchange } from '../job/images.ts';
import type { HostingDeps } from '../job/hosting.ts';
import type { Capacity } from '../protocol/capacity.ts';
import { PROTOCOL_VERSION } from '../protocol/namespaces.ts';
import { openBlob } from '../wire/blob.ts';
import { openDirectListener } from '../wire/direct-listener.ts';
import { createSignalRouter, type SignalRouter } from '../wire/signaling.ts';
import { createFrameCipher } from '../trust/frames.ts';
import { externalIceServers } from '../xmpp/external-services.ts';
import { openFrameChannel } from '../xmpp/frames.ts';
import { openMailbox, type Mailbox } from '../xmpp/mailbox.ts';
import { joinRoom, type Room } from '../xmpp/room.ts';
import { openSession, type Session } from '../xmpp/session.ts';
import type { PeerOptions } from './options.ts';
import { openOwner, type Owner } from './owner.ts';
import { peerApi } from './api.ts';
import { createBoot } from './boot.ts';
import { createPartners } from './partners.ts';
import { answer } from './answer.ts';
import { introductionsOf, openTrust, tryCertificate, welcome, whoIs, type PeerTrust } from './trust.ts';
import { createWires, notaryOf } from './wires.ts';
import { SOFTWARE } from '../version.ts';

export interface Peer extends AsyncDisposable {
  readonly name: string;
  readonly self: string;
  readonly nick: string;
  readonly room: Room;
  readonly trust: PeerTrust;
  readonly store: Store;
  readonly host: HostFacts;
  readonly ask: Ask;
  readonly worker: Worker;
  readonly owner: Owner;
  readonly images: ImageExchange;
  /** Master keys of jobs that start here, by job; they never leave this machine. */
  readonly privateKeys: Map<string, string>;
  /** The job that this peer runs, once it does. */
  job: JobRun | undefined;
  readonly options: PeerOptions;
  readonly startedAt: number;
  status(): Promise<PeerStatus>;
  /** Resolves with the error that ended the session, or undefined after disposal. */
  readonly closed: Promise<KithError | undefined>;
}

/** A certificate is renewed when half of its week is over: whoever runs for longer than that looks at it now and then. */
const CERTIFY_MS = 3_600_000;

export async function openPeer(options: PeerOptions): Promise<Peer> {
  const { log, signal, paths } = options;
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await openPeerDirectory(paths.runtime, options.name));
  const store = await openStore(paths.cache);
  // An accelerator counts only once a real kernel has spoken under it; without any image there is none to try.
  const [stored] = await store.list();
  let host = await probeHost({ cacheDir: paths.cache, kernel: stored?.kernel, signal, log });

  const session: Session = stack.use(await openSession({ ...options.server, ...options.account, log, signal }));
  const trust = await openTrust({
    trust: options.trust,
    room: options.room,
    stateDirectory: paths.state,
    self: () => session.jid,
    log,
  });
  const { circle, contacts } = trust;
  stack.defer(() => contacts.saved());
  const mailbox: Mailbox = openMailbox({ session, seals: circle, log });
  const cipher = createFrameCipher({
    room: options.room,
    self: () => session.jid,
    ownKey: () => circle.boxKey,
    keyOf: (jid) => welcome(circle.member(jid))?.box,
  });
  const frames = stack.use(openFrameChannel({ session, cipher }));
  const ask: Ask = (to, request, how) =>
    mailbox.request(to, request, {
      ...(how?.timeoutMs ? { timeoutMs: how.timeoutMs } : {}),
      ...(how?.signal ? { signal: how.signal } : {}),
    });

  const router: SignalRouter = createSignalRouter({
    send: async (to, body) => {
      await ask(to, { kind: 'signal', ...body });
    },
    log,
  });
  const iceServers = externalIceServers({ session, configured: options.iceServers, now: Date.now, log });
  const bound = options.wireAddress ? { bindAddress: options.wireAddress } : {};
  const images = stack.use(
    createImageExchange({
      store,
      ask,
      openBlob: async ({ peer, channel, offer, signal }) => {
        const pipe = router.pipe({ peer, channel, offer });
        return openBlob({ ...bound, iceServers: await iceServers(), log, offer, pipe, signal });
      },
      log,
    }),
  );

  const listener = stack.use(
    await openDirectListener({
      ...bound,
      ...(options.wirePort === undefined ? {} : { port: options.wirePort }),
      announce: options.announce,
      mapPort: options.mapPort,
      log,
      signal,
    }),
  );
  const openWire = createWires({ router, frames, listener, bindAddress: options.wireAddress, iceServers, log });
  const privateKeys = new Map<string, string>();
  const partners = createPartners(circle, (jid) => worker.knows(jid));
  const hosting: Pick<WorkerDeps, Exclude<keyof HostingDeps, 'onChange'>> = {
    self: mailbox.self,
    clock: systemClock,
    log,
    openWire: (request) => {
      partners.remember(request.peer);
      return openWire(request);
    },
    notary: notaryOf(trust),
    boot: createBoot({
      self: mailbox.self,
      runDirectory: directory.path,
      cacheDirectory: paths.cache,
      images,
      privateKeys,
      host: async (kernel) => {
        if (!stored) host = await probeHost({ cacheDir: paths.cache, kernel, signal, log });
        return host;
      },
      log,
    }),
  };

  let room: Room | undefined;
  const capacity = async (worker: Worker): Promise<Capacity> => {
    await mkdir(paths.cache, { recursive: true });
    const disk = await statfs(paths.cache);
    const { offer, inUse } = worker; // after the waits: the newest counts
    return {
      software: SOFTWARE,
      protocol: PROTOCOL_VERSION,
      role: options.role,
      cpus: offer.cpus,
      memoryMiB: offer.memoryMiB,
      diskMiB: Math.floor((disk.bavail * disk.bsize) / 2 ** 20),
      arch: host.arch,
      accelerator: host.accelerator,
      confinement: host.confinement,
      guests: inUse.guests,
      accepts: offer.accepts,
    };
  };
  const confined = host.confinement.includes('namespaces');
  const owner: Owner = stack.use(await openOwner({ ...options, confined, onChange: () => worker.reconsider() }));
  const worker: Worker = stack.use(
    openWorker({
      ...hosting,
      policy: () => owner.policy(),
      whoIs: (jid) => whoIs(trust, jid),
      imageSeen: (hash) => store.has(hash),
      prompt: options.prompt,
      wallClock: () => new Date(),
      sendReport: (to, message) => ask(to, message),
      onGuests: () => {
        capacity(worker)
          .then((now) => room?.announce(now))
          .catch((error: unknown) => log.warn('capacity not announced', { reason: describeError(error) }));
      },
    }),
  );

  let peer: Peer | undefined;
  const outcast = Promise.withResolvers<KithError>();
  stack.defer(
    circle.listen({
      onMember: (jid, member) => room?.recognise(jid, welcome(member)?.capacity),
      onBans: (bans, banned, self) => {
        void options.trust
          .save({ bans })
          .catch((error: unknown) => log.error('list of bans not kept', { reason: describeError(error) }));
        if (self) return outcast.resolve(bannedFrom(options.room));
        room?.announce(); // with new keys
        worker.dismiss((jid) => banned.has(partners.deviceOf(jid)), 'its holder was banned from the room');
        peer?.job?.consider();
      },
    }),
  );
  const isFriend = (jid: string) => welcome(circle.member(jid)) !== undefined;
  const isPresent = (jid: string) =>
    room?.occupants().some((occupant) => occupant.jid === jid && occupant.alive) ?? false;
  stack.defer(
    mailbox.serve(async (from, request) => {
      if (request.kind === 'lease.request') partners.remember(from);
      return answer(from, request, {
        worker,
        router,
        images,
        job: peer?.job,
        inRoom: from === mailbox.self || isFriend(from),
        mayAsk: from === mailbox.self || (options.role !== 'initiator' && isFriend(from)),
      });
    }),
  );
  room = stack.use(
    await joinRoom({
      session,
      introductions: introductionsOf(circle),
      room: options.room,
      nick: options.nick,
      capacity: await capacity(worker),
      create: options.createRoom ? {} : undefined,
      log,
      signal,
    }),
  );
  const certify = async () => {
    if (await tryCertificate(trust, { trust: options.trust, ask, signal, log })) room?.announce();
  };
  await certify();
  stack.defer(systemClock.every(CERTIFY_MS, () => void certify()));
  stack.defer(
    room.onChange(({ kind, occupant }) => {
      // Our inviter is back: what it could not sign before it may sign now.
      if (kind === 'joined' && circle.member(occupant.jid)?.device === options.trust.inviter) void certify();
      peer?.job?.consider();
    }),
  );
  stack.defer(room.onChange(() => worker.desk.withdraw((from) => !isPresent(from))));

  const opened: Omit<Peer, typeof Symbol.asyncDispose> = {
    name: options.name,
    self: mailbox.self,
    nick: room.nick,
    room,
    trust,
    store,
    host,
    ask,
    worker,
    owner,
    images,
    privateKeys,
    job: undefined,
    options,
    startedAt: Date.now(),
    closed: Promise.race([room.closed, outcast.promise]),
    status: () => api.status(),
  };
  const owned = new AsyncDisposableStack();
  peer = Object.assign(opened, { [Symbol.asyncDispose]: () => owned.disposeAsync() });
  const api = peerApi(peer);
  stack.use(await serveControl({ path: directory.socket, api, log, signal }));
  owned.use(stack.move());
  log.info('peer ready', { peer: peer.nick, room: options.room });
  return peer;
}

const bannedFrom = (room: string) =>
  new KithError({
    code: 'trust.banned',
    message: `this device was banned from ${room}`,
    hint: 'ask whoever invites into the room',
    retry: 'never',
  });
