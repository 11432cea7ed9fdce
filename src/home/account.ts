/** Which account a peer uses: the one that this home has in the room of the invitation, or a new one by its token. */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KithError } from '../base/errors.ts';
import { isName, shortId } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import type { Paths } from '../base/paths.ts';
import type { PeerOptions } from '../peer/options.ts';
import type { TrustOptions } from '../peer/trust.ts';
import { isMember, openRooms, type Rooms, type SavedRoom } from './rooms.ts';
import { decodeInvitation, type Invitation } from '../trust/invitation.ts';
import { registerAccount } from '../xmpp/register.ts';

export type Access = Pick<PeerOptions, 'server' | 'account' | 'room' | 'trust'>;

export interface AccessOptions {
  /** The account's name begins like this. */
  readonly nick: string;
  readonly paths: Paths;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * One account per home and room: its processes are resources of it, show the same device key, and share the certificate. So a line
 * for one device lets `kith worker` and `kith run` of that device in. Errors: those of the line, of the token, of connecting.
 */
export async function accessByInvitation(line: string, options: AccessOptions): Promise<Access> {
  const rooms = openRooms(options.paths.state);
  const invitation = decodeInvitation(line);
  const known = await rooms.find(invitation);
  const saved = known
    ? await withNewerLine(rooms, known, line)
    : await rooms.alone(() => findOrMake(rooms, line, options), options.signal);
  return accessOf(rooms, saved, options.paths);
}

/** Of the room that `kith join` entered last; undefined if there is none. */
export async function accessByMembership(paths: Paths): Promise<Access | undefined> {
  const rooms = openRooms(paths.state);
  const saved = await rooms.current();
  return saved && accessOf(rooms, saved, paths);
}

/**
 * What `accessByInvitation`, or `accessByMembership` without a line, would use, without making anything. Undefined account: there is
 * none yet. Undefined: nobody here has joined.
 */
export async function readAccess(options: {
  readonly line: string | undefined;
  readonly paths: Paths;
}): Promise<(Pick<Access, 'server' | 'room'> & { readonly account: Access['account'] | undefined }) | undefined> {
  const { line, paths } = options;
  if (line === undefined) return accessByMembership(paths);
  const rooms = openRooms(paths.state);
  const invitation = decodeInvitation(line);
  const saved = await rooms.find(invitation);
  return saved ? accessOf(rooms, saved, paths) : { ...placeOf(invitation), account: undefined };
}

/** An account that never got its certificate, or lost it, tries again with the line at hand. */
async function withNewerLine(rooms: Rooms, saved: SavedRoom, line: string): Promise<SavedRoom> {
  if (isMember(saved) || saved.invitation === line.trim()) return saved;
  decodeInvitation(line, Date.now());
  const renewed = { ...saved, invitation: line.trim() };
  await rooms.save(renewed);
  return renewed;
}

async function findOrMake(rooms: Rooms, line: string, { nick, log, signal }: AccessOptions): Promise<SavedRoom> {
  const invitation = decodeInvitation(line, Date.now());
  const known = await rooms.find(invitation); // another process of ours was faster
  if (known) return known;
  const { host, port, domain, fingerprint, token } = invitation;
  const username = `${isName(nick) ? nick : 'friend'}-${shortId()}`;
  const account = { username, password: randomBytes(24).toString('base64url') };
  await registerAccount({ host, port, domain, fingerprint, token, ...account, signal });
  log.info('account made', { peer: `${username}@${domain}` });
  const made: SavedRoom = { version: 2, invitation: line.trim(), ...account };
  await rooms.save(made);
  return made;
}

async function accessOf(rooms: Rooms, saved: SavedRoom, paths: Paths): Promise<Access> {
  const invitation = decodeInvitation(saved.invitation);
  const { username, password, certificate, bans } = saved;
  const trust: TrustOptions = {
    inviter: invitation.inviter,
    token: invitation.token,
    certificate,
    bans,
    vouch: await readVouch(paths),
    save: (learned) => rooms.learn(invitation, learned),
  };
  return { ...placeOf(invitation), account: { username, password }, trust };
}

const placeOf = ({ host, port, domain, fingerprint, bytesPerSecond, room }: Invitation) => ({
  server: { host, port, domain, fingerprint, bytesPerSecond },
  room,
});

/** What an older device of this friend has said about this one (`kith vouch`). */
export async function readVouch(paths: Paths): Promise<string | undefined> {
  try {
    return (await readFile(join(paths.state, 'vouch'), 'utf8')).trim().slice(0, 1024) || undefined;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new KithError({
      code: 'account.file',
      message: `cannot read ${join(paths.state, 'vouch')}`,
      hint: 'make it readable or remove it',
      cause: error,
    });
  }
}
