/** Composition root of `kith host`: a private server, its one room, and an invitation to it. */
import { openRunDirectory } from './base/guard.ts';
import type { Log } from './base/log.ts';
import { openRuntimeDirectory, type Paths } from './base/paths.ts';
import type { Capacity } from './protocol/capacity.ts';
import { encodeInvitation } from './protocol/invitation.ts';
import { PROTOCOL_VERSION } from './protocol/namespaces.ts';
import { SOFTWARE } from './version.ts';
import { joinRoom } from './xmpp/room.ts';
import { startServer } from './xmpp/server.ts';
import { openSession } from './xmpp/session.ts';

export interface HostOptions {
  readonly listen: string;
  /** What friends connect to, when it is not the address that we listen on. */
  readonly address: string | undefined;
  readonly port: number | undefined;
  readonly room: string;
  readonly bytesPerSecond: number | 'stock';
  readonly paths: Paths;
  readonly log: Log;
  readonly signal: AbortSignal;
}

export interface Hosted extends AsyncDisposable {
  readonly invitation: string;
  readonly host: string;
  readonly port: number;
  readonly room: string;
  readonly fingerprint: string;
  /** Resolves with the reason when the server has ended. */
  readonly closed: Promise<string>;
}

export async function hostRoom(options: HostOptions): Promise<Hosted> {
  const { listen, log, signal } = options;
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await openRunDirectory(await openRuntimeDirectory(options.paths.runtime), 'host-'));
  const server = stack.use(
    await startServer({
      directory: directory.path,
      listen,
      ...(options.port === undefined ? {} : { port: options.port }),
      bytesPerSecond: options.bytesPerSecond,
      log,
      signal,
    }),
  );
  directory.adopt(server.pid);
  const host = options.address ?? server.host;
  const room = `${options.room}@${server.mucService}`;
  await makeRoom(room, { ...options, server });
  const { port, domain, fingerprint, bytesPerSecond } = server;
  const token = await server.createToken();
  const owned = stack.move();
  return {
    invitation: encodeInvitation({ version: 1, host, port, domain, fingerprint, room, token, bytesPerSecond }),
    host,
    port,
    room,
    fingerprint,
    closed: server.closed,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** The server's own account makes the room, so that it is configured before anybody can hear of it, and leaves. */
async function makeRoom(
  room: string,
  options: HostOptions & { readonly server: Awaited<ReturnType<typeof startServer>> },
): Promise<void> {
  const { server, log, signal } = options;
  const nobody: Capacity = {
    software: SOFTWARE,
    protocol: PROTOCOL_VERSION,
    role: 'peer',
    cpus: 0,
    memoryMiB: 0,
    diskMiB: 0,
    arch: 'x86_64',
    accelerator: 'none',
    guests: 0,
    accepts: false,
  };
  const { port, domain, fingerprint, bytesPerSecond } = server;
  await using session = await openSession({
    host: server.host,
    port,
    domain,
    fingerprint,
    bytesPerSecond,
    ...server.adminAccount,
    log,
    signal,
  });
  await using _room = await joinRoom({
    session,
    room,
    nick: 'host',
    capacity: nobody,
    create: { persistent: true },
    log,
    signal,
  });
}
