/** Checks of the STUN and TURN servers that data channels would use: asked the way that WebRTC asks them. */
import { describeError, KithError } from '../base/errors.ts';
import { parseIceServer, type Credential, type IceServer, type StunAnswer } from '../wire/stun.ts';
import { openStunClient, type StunClient } from '../wire/stun-client.ts';
import { broken, fine, skipped, weak, type Check, type CheckContext, type Finding } from './check.ts';

const UNSEEN = 'this machine does not learn how it looks from outside: through a NAT, links to friends fail';
const NO_RELAY = 'with friends behind strict NATs, links go through a third peer or trickle through the chat server';
const HOW = 'add it to iceServers in config.json';

const UNAUTHORIZED = 401;
const STALE_NONCE = 438;

type Probe = (client: StunClient, server: IceServer) => Promise<Finding>;

const stun: Check = {
  name: 'STUN',
  deadlineMs: 15_000,
  cost: UNSEEN,
  async run(context, signal) {
    const { iceServers } = context;
    // An entry that is none would make the WebRTC library refuse them all. Not shown: it may hold a password.
    const nonsense = iceServers.flatMap((text, index) =>
      parseIceServer(text)
        ? []
        : [
            broken(
              `entry ${index + 1} of iceServers is not a server`,
              'no data channel opens at all',
              'write it as stun:host:port or turn:user:password@host:port',
            ),
          ],
    );
    const found = await each(context, 'stun', signal, async (client) => {
      const { mapped, error } = await client.ask('binding');
      if (mapped) return fine(`sees this machine as ${mapped}`);
      throw refused('a binding', error);
    });
    if (found.length + nonsense.length > 0) return [...nonsense, ...found];
    return skipped('no STUN server is configured', UNSEEN, `name one, as in stun:stun.example.org:3478; ${HOW}`);
  },
};

const turn: Check = {
  name: 'TURN',
  deadlineMs: 25_000,
  cost: NO_RELAY,
  async run(context, signal) {
    const found = await each(context, 'turn', signal, allocate);
    if (found.length > 0) return found;
    return skipped('no TURN server is configured', NO_RELAY, `name one, as in turn:user:password@host:3478; ${HOW}`);
  },
};

/** One finding per server of this kind; what is wrong with one does not hide the others. */
async function each(
  { iceServers, wireAddress, clock }: CheckContext,
  kind: IceServer['kind'],
  signal: AbortSignal,
  probe: Probe,
): Promise<Finding[]> {
  const servers = iceServers.map(parseIceServer).filter((server) => server?.kind === kind);
  const cost = kind === 'stun' ? UNSEEN : NO_RELAY;
  return Promise.all(
    servers.map(async (server): Promise<Finding> => {
      const { host, port, transport } = server as IceServer;
      const part = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
      if (transport !== 'udp') {
        const todo = 'name the same server by UDP, without s and ?transport=';
        return { ...weak(`asks for ${transport}, which the WebRTC library does not speak`, cost, todo), part };
      }
      try {
        using client = await openStunClient({ host, port, bindAddress: wireAddress, clock, signal });
        return { ...(await probe(client, server as IceServer)), part };
      } catch (error) {
        if (signal.aborted) throw error;
        const { message, hint } =
          error instanceof KithError ? error : { message: describeError(error), hint: undefined };
        return { ...broken(message, cost, hint ?? `ask whoever runs ${host}`), part };
      }
    }),
  );
}

/** A relay is really lent to us, and given back. */
const allocate: Probe = async (client, { username, password }) => {
  const unasked = await client.ask('allocate');
  if (unasked.success) {
    await release(client, undefined);
    return weak(
      'lends relays to everybody',
      'strangers use it up, until its owner or provider closes it',
      'ask whoever runs it to want a password',
    );
  }
  const { realm, nonce } = unasked;
  if (unasked.error?.code !== UNAUTHORIZED || realm === undefined || !nonce) throw refused('a relay', unasked.error);
  if (username === undefined || password === undefined) {
    return broken(
      `answers for ${JSON.stringify(realm)}, but no user and password are configured`,
      NO_RELAY,
      'write it as turn:user:password@host:port',
    );
  }
  let credential: Credential = { username, password, realm, nonce };
  let lent = await client.ask('allocate', credential);
  if (lent.error?.code === STALE_NONCE && lent.nonce) {
    credential = { ...credential, nonce: lent.nonce };
    lent = await client.ask('allocate', credential);
  }
  if (!lent.success || !lent.relayed) throw refused('a relay', lent.error);
  await release(client, credential);
  return fine(`lent the relay ${lent.relayed} to ${username}`);
};

/** Best effort: what is not given back ends by itself after ten minutes (RFC 8656 7.2). */
const release = (client: StunClient, credential: Credential | undefined): Promise<unknown> =>
  client.ask('refresh', credential).catch(() => {});

function refused(what: string, error: StunAnswer['error']): KithError {
  const why = error ? `${error.code} ${error.reason.slice(0, 100)}`.trim() : 'its answer lacks the address';
  return new KithError({
    code: 'wire.stun-refused',
    message: `gives us no ${what.replace(/^a /, '')}: ${why}`,
    hint:
      error?.code === UNAUTHORIZED
        ? 'check user and password in iceServers'
        : 'ask whoever runs it, or name another server in iceServers',
  });
}

export const iceChecks: readonly Check[] = [stun, turn];
