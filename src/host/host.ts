/** Composition root of `kith host`: a private server, its one room, and the member of it that invites and bans. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, KithError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Paths } from '../base/paths.ts';
import { openPeerDirectory } from '../control/directory.ts';
import type { HostApi, IssuedInvitation } from '../control/host-api.ts';
import { serveControl } from '../control/server.ts';
import { openDesk, recordsOf, type Desk } from './desk.ts';
import { bansFile, readBans, readServerState, stateWriter } from './state.ts';
import { occupantsOf, reconsider } from '../peer/occupants.ts';
import { noCapacity } from '../protocol/capacity.ts';
import { openCircle, type Circle } from '../trust/circle.ts';
import { openContacts } from '../trust/contacts.ts';
import { openDevice } from '../trust/device.ts';
import { openGate } from '../trust/gate.ts';
import { SOFTWARE } from '../version.ts';
import { openFriends } from '../xmpp/friends.ts';
import { openMailbox } from '../xmpp/mailbox.ts';
import { joinRoom, type Room } from '../xmpp/room.ts';
import { setAffiliation } from '../xmpp/room-config.ts';
import { startServer } from '../xmpp/server.ts';
import { openSession } from '../xmpp/session.ts';

export interface HostOptions {
  /** Names the runtime directory: one host of a name runs at a time. */
  readonly name: string;
  readonly listen: string;
  /** What friends connect to, when it is not the address that we listen on. */
  readonly address: string | undefined;
  readonly port: number | undefined;
  readonly room: string;
  readonly bytesPerSecond: number | 'stock';
  /** What friends read in the invitation. */
  readonly nick: string;
  /** Of the first invitation. */
  readonly seconds: number;
  readonly uses: number;
  /** Keeps server, accounts, port and invitations under this name for the next start. */
  readonly keep: string | undefined;
  readonly paths: Paths;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Asked over the local socket to stop. */
  readonly onDown: () => void;
}

export interface Hosted extends AsyncDisposable {
  readonly invitation: IssuedInvitation;
  readonly host: string;
  readonly port: number;
  readonly room: string;
  readonly fingerprint: string;
  /** Fingerprint of the key that invites. */
  readonly device: string;
  /** Resolves with the reason when the server has ended. */
  readonly closed: Promise<string>;
}

export async function hostRoom(options: HostOptions): Promise<Hosted> {
  const { listen, log, signal, paths, name } = options;
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await openPeerDirectory(paths.runtime, name).catch(orRunning));
  const folder = options.keep === undefined ? directory.path : join(paths.state, 'hosts', options.keep);
  const serverFolder = join(folder, 'server');
  await mkdir(serverFolder, { recursive: true, mode: 0o700 });
  const kept = await readServerState(join(folder, 'host.json'));
  const device = await openDevice(paths.state);
  const contacts = await openContacts(paths.state);
  stack.defer(() => contacts.saved());
  const wantedPort = options.port ?? kept.port;
  const server = stack.use(
    await startServer({
      directory: serverFolder,
      listen,
      ...(wantedPort === undefined ? {} : { port: wantedPort }),
      bytesPerSecond: options.bytesPerSecond,
      log,
      signal,
    }),
  );
  directory.run.adopt(server.pid);
  const { port, domain, fingerprint, bytesPerSecond } = server;
  const room = `${options.room}@${server.mucService}`;
  const session = stack.use(
    await openSession({ ...server, host: reachable(server.host), ...server.adminAccount, log, signal }),
  );
  const banFile = bansFile(paths.state, room);
  const bans = await readBans(banFile);
  const saveBans = stateWriter(banFile);
  const saveServer = stateWriter(join(folder, 'host.json'));
  const circle = await openCircle({
    device,
    contacts,
    room,
    self: () => session.jid,
    inviter: device.key,
    certificate: undefined,
    vouch: undefined,
    bans: bans.signed,
    log,
  });
  const isFriend = (account: string) => contacts.byAccount(account).some(({ pin }) => pin !== 'first-sight');
  stack.use(await openFriends({ session, welcome: isFriend, signal }));
  const mailbox = openMailbox({ session, seals: circle, log });
  const host = options.address ?? server.host;
  const desk = openDesk({
    device,
    contacts,
    circle,
    gate: openGate(kept.grants),
    room,
    place: { host, port, domain, fingerprint, bytesPerSecond },
    nick: options.nick,
    banned: recordsOf(bans.signed, bans.records),
    server,
    setOutcast: (account, out) => setAffiliation(session, room, account, out ? 'outcast' : 'none'),
    saveGrants: (grants) => saveServer({ port, grants }),
    saveBans: (signed, records) => saveBans({ signed, records }),
    now: Date.now,
    log,
  });
  stack.defer(
    mailbox.serve(async (from, request) => {
      if (request.kind === 'room.join') return desk.admit(from, request.token);
      throw new KithError({
        code: 'peer.not-allowed',
        message: 'the host of the room lends nothing and runs nothing',
        retry: 'never',
      });
    }),
  );
  // Server and circle are ready to answer before anybody can see us in the room.
  const joined = stack.use(
    await joinRoom({
      session,
      introductions: {
        hello: (capacity) => circle.hello(capacity),
        meet: (jid, nick, text) => circle.meet(jid, nick, text),
        leave: (jid) => circle.leave(jid),
      },
      room,
      nick: 'host',
      capacity: nothing,
      create: { persistent: true },
      log,
      signal,
    }),
  );
  stack.defer(
    circle.listen({
      onMember: (jid, member) => joined.recognise(jid, member?.capacity),
      onBans: () => joined.announce(), // so that all learn it, and get our new keys
    }),
  );
  const invitation = await desk.invite({ seconds: options.seconds, uses: options.uses });
  const api = hostApi({ ...options, desk, circle, contacts, room: joined, startedAt: Date.now() });
  stack.use(await serveControl({ path: directory.socket, api: { host: api }, log, signal }));
  const owned = stack.move();
  return {
    invitation,
    host,
    port,
    room,
    fingerprint,
    device: circle.fingerprint,
    closed: Promise.race([
      server.closed,
      joined.closed.then((error) => `the room was lost: ${error?.message ?? 'it was left'}`),
    ]),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** An address that reaches a server which listens on `listen`. */
const reachable = (listen: string): string => (listen === '0.0.0.0' ? '127.0.0.1' : listen === '::' ? '::1' : listen);

/** It keeps the room and lends nothing. */
const nothing = noCapacity('host', SOFTWARE);

function hostApi(host: {
  readonly name: string;
  readonly onDown: () => void;
  readonly desk: Desk;
  readonly circle: Circle;
  readonly contacts: Parameters<typeof reconsider>[0]['contacts'];
  readonly room: Room;
  readonly startedAt: number;
}): HostApi {
  const { name, desk, circle, room, startedAt } = host;
  const { invite, invitations, revoke, ban, unban } = desk;
  return {
    invite,
    invitations,
    revoke,
    ban,
    unban,
    status: async () => ({
      peer: {
        name,
        jid: room.self,
        role: 'host',
        room: room.jid,
        device: circle.fingerprint,
        confinement: [],
        pid: process.pid,
        software: SOFTWARE,
        uptimeSeconds: Math.round((Date.now() - startedAt) / 1000),
        residentMiB: Math.round(process.memoryUsage.rss() / 2 ** 20),
      },
      occupants: occupantsOf(room, circle),
      guests: [],
      links: [],
    }),
    async reconsider({ forget }) {
      await reconsider(host, forget);
      return {};
    },
    async down() {
      host.onDown();
      return {};
    },
  };
}

function orRunning(error: unknown): never {
  if (errorCode(error) !== 'control.name-taken') throw error;
  throw new KithError({
    code: 'host.running',
    message: 'a host runs on this machine already',
    hint: 'invite friends into its room with kith invite, or open another with --name NAME',
    cause: error,
  });
}
