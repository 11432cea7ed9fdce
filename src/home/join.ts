/** Composition root of `kith join`: from an invitation to an account, a certificate, and friends with pinned keys. */
import { accessByInvitation, type AccessOptions } from './account.ts';
import { describeError, errorCode, KithError } from '../base/errors.ts';
import { obtainCertificate, openTrust, type PeerTrust } from '../peer/trust.ts';
import { noCapacity } from '../protocol/capacity.ts';
import { isMember, openRooms } from './rooms.ts';
import type { Member } from '../trust/circle.ts';
import { fingerprintOf } from '../trust/device.ts';
import { decodeInvitation, type Invitation } from '../trust/invitation.ts';
import { SOFTWARE } from '../version.ts';
import { openFriends } from '../xmpp/friends.ts';
import { openMailbox } from '../xmpp/mailbox.ts';
import { joinRoom, type Room, type RoomOptions } from '../xmpp/room.ts';
import { openSession, type Session } from '../xmpp/session.ts';

export interface Joined {
  readonly room: string;
  /** Bare JID. */
  readonly account: string;
  /** Fingerprint of this device. */
  readonly device: string;
  readonly inviter: { readonly nick: string; readonly device: string };
  /** Everybody else who was there, and how far they are trusted. */
  readonly members: readonly {
    readonly nick: string;
    readonly account: string;
    readonly device: string;
    readonly role: string;
    readonly trust: string;
    readonly because: string;
  }[];
}

/** The room names everybody before it lets us in, unless the inviter is just coming back from an outage. */
const INVITER_MS = 5000;
/** Four messages; a server at its stock rate needs less than a second. */
const FRIENDS_MS = 5000;

/**
 * Errors: those of the line (`invitation.damaged`, `.expired`, …), of its token (`.used-up`, `.revoked`, `.unknown`), and
 * `invitation.already-member`, `invitation.wrong-room`, `trust.no-inviter`, `xmpp.certificate`, `xmpp.unreachable`, `xmpp.banned`.
 */
export async function joinByInvitation(line: string, options: AccessOptions): Promise<Joined> {
  const { paths, nick, log, signal } = options;
  const rooms = openRooms(paths.state);
  const invitation = decodeInvitation(line);
  const saved = await rooms.find(invitation);
  if (saved && isMember(saved)) throw alreadyMember(invitation, saved.username);

  const { server, account, room: name, trust } = await accessByInvitation(line, options);
  await using stack = new AsyncDisposableStack();
  const session = stack.use(await openSession({ ...server, ...account, log, signal }));
  const peer = await openTrust({ trust, room: name, stateDirectory: paths.state, self: () => session.jid, log });
  stack.defer(() => peer.contacts.saved());
  const mailbox = openMailbox({ session, seals: peer.circle, log });
  const room = stack.use(await enter({ session, room: name, nick, capacity: nothing, log, signal }, peer));
  await untilHere(room, peer, invitation.inviter, signal);
  if (invitation.inviter !== peer.device.key) {
    await obtainCertificate(peer, { trust, ask: (to, request) => mailbox.request(to, request, { signal }), signal });
    room.announce(); // with the certificate: now everybody knows us, before we go
    await befriend(session, peer, invitation.inviter, options);
  }
  await rooms.makeCurrent(invitation);
  return {
    room: name,
    account: `${account.username}@${server.domain}`,
    device: peer.circle.fingerprint,
    inviter: { nick: invitation.nick, device: fingerprintOf(invitation.inviter) },
    members: peer.circle.members.map(shown),
  };
}

/** For other XMPP clients; Kith itself does not need it. */
async function befriend(
  session: Session,
  { circle }: PeerTrust,
  inviter: string,
  { log, signal }: AccessOptions,
): Promise<void> {
  const account = circle.members.find(({ device }) => device === inviter)?.account;
  if (account === undefined) return;
  try {
    using friends = await openFriends({ session, welcome: (from) => from === account, signal });
    const done = await friends.befriend(account, { timeoutMs: FRIENDS_MS, signal });
    if (!done) log.info('contact lists not joined', { account });
  } catch (error) {
    signal.throwIfAborted();
    log.info('contact lists not joined', { account, reason: describeError(error) });
  }
}

async function enter(options: Omit<RoomOptions, 'introductions' | 'create'>, { circle }: PeerTrust): Promise<Room> {
  const introductions: RoomOptions['introductions'] = {
    hello: (capacity) => circle.hello(capacity),
    meet: (jid, nick, text) => circle.meet(jid, nick, text),
    leave: (jid) => circle.leave(jid),
  };
  try {
    return await joinRoom({ ...options, introductions, create: undefined });
  } catch (error) {
    throw ['xmpp.unknown-room', 'xmpp.no-such-room'].includes(errorCode(error))
      ? wrongRoom(options.room, error)
      : error;
  }
}

/** Resolves when the inviter has shown its key, or too late. */
async function untilHere(room: Room, { circle }: PeerTrust, inviter: string, signal: AbortSignal): Promise<void> {
  const isHere = () => circle.members.some(({ device }) => device === inviter);
  const { promise, resolve } = Promise.withResolvers<void>();
  const look = () => {
    if (isHere()) resolve();
  };
  const timer = setTimeout(resolve, INVITER_MS);
  const end = room.onChange(look);
  signal.addEventListener('abort', () => resolve(), { once: true });
  look();
  await promise;
  clearTimeout(timer);
  end();
  signal.throwIfAborted();
}

const shown = ({ nick, account, device, trust, because, capacity }: Member): Joined['members'][number] => ({
  nick,
  account,
  device: fingerprintOf(device),
  role: capacity.role,
  trust,
  because,
});

/** Whoever only joins lends nothing. */
const nothing = noCapacity('peer', SOFTWARE);

const alreadyMember = ({ domain, room }: Invitation, username: string) =>
  new KithError({
    code: 'invitation.already-member',
    message: `you are a member of ${room} already, as ${username}@${domain}`,
    hint: 'start kith peer, kith worker or kith run; they need no invitation',
    retry: 'never',
  });

const wrongRoom = (room: string, cause: unknown) =>
  new KithError({
    code: 'invitation.wrong-room',
    message: `this invitation is for the room ${room}, which is not on its server`,
    hint: 'ask your friend for one to the room that is open now',
    retry: 'never',
    cause,
  });
