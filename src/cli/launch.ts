/** What `peer`, `worker` and `run` share: from flags and files to a peer in the room. */
import { accessByInvitation, accessByMembership, readVouch, type Access } from '../home/account.ts';
import { errorCode, KithError } from '../base/errors.ts';
import { shortId } from '../base/ids.ts';
import type { PeerOptions } from '../peer/options.ts';
import { openPeer, type Peer } from '../peer/peer.ts';
import type { CommandContext } from './command.ts';
import { askHuman } from './ask.ts';
import { loadConfig, PROFILES, serverOf, type Config } from './config.ts';

/** Options that all three take, for node:util parseArgs; main.ts adds them to the command table. */
export async function launchPeer(
  context: CommandContext,
  role: PeerOptions['role'],
  extra: { readonly onDown: () => void; readonly signal: AbortSignal },
): Promise<Peer> {
  const config = await loadConfig(context);
  // Two runs may go on at once, as two resources of one account: only the names that kith ps knows them by must differ.
  const profile = config.name ?? PROFILES[role];
  const name = config.name ?? (role === 'initiator' ? `${profile}-${shortId()}` : profile);
  const access = await accessOf(context, config, profile, extra.signal);
  const opening = openPeer({
    ...access,
    name,
    nick: config.nick ?? name,
    role,
    createRoom: access.trust.inviter === undefined && Boolean(config.createRoom),
    accept: config.accept,
    limits: config.limits ?? {},
    prompt:
      role === 'peer' ? askHuman({ terminal: process.stdin, output: process.stderr, signal: extra.signal }) : undefined,
    wireAddress: config.wireAddress,
    wirePort: config.wirePort,
    announce: config.announce ?? [],
    mapPort: config.mapPort ?? false,
    iceServers: config.iceServers ?? [],
    paths: context.paths,
    log: context.log,
    signal: extra.signal,
    onDown: extra.onDown,
  });
  return access.trust.inviter === undefined ? opening.catch(orCreateIt) : opening;
}

/** Whose account makes rooms by the way would turn a slip of the pen into an empty room and a job that waits for ever. */
function orCreateIt(error: unknown): never {
  if (!(error instanceof KithError) || errorCode(error) !== 'xmpp.unknown-room') throw error;
  const { code, message } = error;
  throw new KithError({ code, message, hint: 'check its name, or make it with --create-room', cause: error });
}

async function accessOf(
  context: CommandContext,
  config: Config,
  profile: string,
  signal: AbortSignal,
): Promise<Access> {
  if (config.invitation) {
    const access = await accessByInvitation(config.invitation, {
      nick: config.nick ?? profile,
      paths: context.paths,
      log: context.log,
      signal,
    });
    return { ...access, room: config.room ?? access.room };
  }
  const { server, jid, password, room } = config;
  const joined = jid ? undefined : await accessByMembership(context.paths);
  if (joined) return { ...joined, room: room ?? joined.room };
  const missing = Object.entries({ jid, password, room }).filter(([, value]) => !value);
  if (!jid || !password || !room) {
    throw new KithError({
      code: 'cli.no-account',
      message: `no invitation and no account: ${missing.map(([key]) => key).join(', ')} missing`,
      hint: 'join a friend with kith join, or pass --invitation FILE, or set jid, passwordFile and room in the configuration',
    });
  }
  const [username = ''] = jid.split('@');
  // Nobody invited us: friends are pinned as they come, and nothing has to be kept for the next start.
  const trust = { vouch: await readVouch(context.paths), save: async () => {} };
  return { room, account: { username, password }, server: serverOf(jid, server), trust };
}
