/** Checks of the chat server: reachable, the right one, a safe login, and a clock like ours. */
import { isIP, connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { orAborted } from '../base/abort.ts';
import { KithError } from '../base/errors.ts';
import { MAX_SKEW_MS } from '../trust/checks.ts';
import { offeredLogins, serverTime } from '../xmpp/inquiries.ts';
import { broken, fine, skipped, weak, type Check, type Finding, type ServerAddress, type Subject } from './check.ts';

const NO_FRIENDS = 'no room, no friends, no jobs: everything is arranged over this server';

/** Half of what is refused would be too late to say; clocks that are kept by NTP differ by less than a second. */
const SKEW_MS = 60_000;
const SOON_DAYS = 14;

const server: Check = {
  name: 'server',
  deadlineMs: 10_000,
  cost: NO_FRIENDS,
  async run({ server }, signal) {
    if (!server) {
      return skipped(
        'no server: this home has joined no room, and no account is configured',
        NO_FRIENDS,
        'join a room by an invitation (kith join), or set jid and passwordFile in the configuration',
      );
    }
    const { host, port } = server;
    const socket = connectTcp({ host, port });
    try {
      await established(socket, 'connect', server, signal);
      return fine(`${host} port ${port} accepts connections`);
    } finally {
      socket.destroy();
    }
  },
};

/** Resolves with the event of a socket that is being connected; a refusal says what to do. */
async function established(
  socket: Socket | TLSSocket,
  event: 'connect' | 'secureConnect',
  { host, port }: ServerAddress,
  signal: AbortSignal,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const end = (why: string, cause?: Error) =>
    reject(
      new KithError({
        code: 'doctor.unreachable',
        message: `${host} port ${port}: ${why}`,
        hint:
          event === 'connect'
            ? 'check that the server runs, that address and port are right, and that no firewall is in between'
            : 'check that this is the port for direct TLS, usually 5223',
        retry: 'later',
        cause,
      }),
    );
  socket.once(event, () => resolve());
  socket.on('error', (error: Error) => end(error.message || error.name, error));
  socket.once('close', () => end('it closed the connection'));
  await orAborted(promise, signal);
}

const tls: Check = {
  name: 'TLS',
  after: ['server'],
  deadlineMs: 15_000,
  cost: 'somebody may sit between you and the server, so no peer of yours talks to it',
  async run({ server, machine }, signal) {
    if (!server) throw new TypeError('no server');
    const { host, port, domain, fingerprint } = server;
    // Looked at, not used: whatever is wrong with the certificate, not a byte of ours follows.
    const socket = connectTls({
      host,
      port,
      ...(isIP(domain) ? {} : { servername: domain }),
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['xmpp-client'],
      rejectUnauthorized: false,
    });
    try {
      await established(socket, 'secureConnect', server, signal);
      const version = socket.getProtocol() ?? 'TLS';
      const certificate = socket.getPeerCertificate();
      if (fingerprint !== undefined) return pinned(version, certificate.fingerprint256, fingerprint, this.cost);
      if (!socket.authorized) {
        return broken(
          `${version}, but the certificate is not trusted: ${reasonOf(socket.authorizationError)}`,
          this.cost,
          `if the server is a friend's, ask for its fingerprint and pass --fingerprint; it shows ${certificate.fingerprint256}`,
        );
      }
      return lasting(version, domain, Date.parse(certificate.valid_to) - machine.now());
    } finally {
      socket.destroy();
    }
  },
};

function pinned(version: string, found: string, wanted: string, cost: string): Finding {
  if (found === wanted) return fine(`${version}, the certificate is the promised one (${wanted.slice(0, 23)}…)`);
  return broken(
    `${version}, but another certificate than the promised one: ${found.slice(0, 23)}…, not ${wanted.slice(0, 23)}…`,
    cost,
    'ask for a new invitation; if nobody set the server up again, somebody may sit in between',
  );
}

function lasting(version: string, domain: string, leftMs: number): Finding {
  const found = `${version}, certificate valid for ${domain} for ${Math.floor(leftMs / 86_400_000)} more days`;
  if (leftMs > SOON_DAYS * 86_400_000) return fine(found);
  return weak(found, 'after that nobody gets in', 'ask whoever runs the server to renew it');
}

/** Node says a code where its types promise an Error. */
const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Why nobody can log in, or undefined. */
function lacking({ account }: Subject): Finding | undefined {
  if (account) return undefined;
  return skipped(
    'no account yet: only reach and TLS were looked at, for a doctor registers nothing',
    'login, room and clock are unknown',
    'join the room first (kith join), or set jid and passwordFile, then ask again',
  );
}

const login: Check = {
  name: 'login',
  after: ['TLS'],
  deadlineMs: 40_000,
  cost: NO_FRIENDS,
  async run(context, signal) {
    const { server, account } = context;
    const missing = lacking(context);
    if (missing || !server || !account) return missing ?? [];
    const { offered, ours } = await offeredLogins({ ...server, signal });
    const list = offered.join(', ') || 'nothing';
    if (ours === undefined) {
      return broken(
        `the server offers no login that is safe (${list}): it would learn your password`,
        `refused, and so: ${NO_FRIENDS}`,
        'use a server that offers SCRAM-SHA-256 or SCRAM-SHA-1',
      );
    }
    await context.session(signal);
    return fine(`${account.username}@${server.domain} by ${ours}, both sides proven (offered: ${list})`);
  },
};

const clock: Check = {
  name: 'clock',
  after: ['login'],
  deadlineMs: 30_000,
  cost: 'nobody knows whether this clock is right; beyond 5 minutes friends refuse what this machine signs',
  async run(context, signal) {
    const { machine, server } = context;
    const session = await context.session(signal);
    const asked = machine.now();
    const theirs = await serverTime(session, server?.domain ?? '', signal);
    const answered = machine.now();
    if (theirs === undefined) {
      return skipped(
        'the server does not tell its time (XEP-0202)',
        this.cost,
        'compare date -u with a friend, or let the server load its module "time"',
      );
    }
    return skewed((asked + answered) / 2 - theirs, (answered - asked) / 2);
  },
};

/** The answer may have taken all of its time on one leg, so the skew is known no better than half a round trip. */
function skewed(skewMs: number, doubtMs: number): Finding {
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  const found = `${seconds} s ${skewMs < 0 ? 'behind' : 'ahead of'} the server`;
  const sure = Math.abs(skewMs) - doubtMs;
  const todo = 'set this clock (timedatectl set-ntp true), or tell whoever runs the server that its clock is wrong';
  if (sure > MAX_SKEW_MS)
    return broken(found, 'friends refuse everything that this machine signs, and it refuses theirs', todo);
  if (sure > SKEW_MS) return weak(found, 'beyond 5 minutes friends refuse everything that this machine signs', todo);
  return fine(seconds === 0 ? 'the same as the server within a second' : found);
}

export const serverChecks: readonly Check[] = [server, tls, login, clock];
