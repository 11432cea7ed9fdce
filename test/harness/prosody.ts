/** A private Prosody per test file: accounts and sessions on demand, crash and restart in place, nothing left behind. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../src/base/log.ts';
import { registerAccount } from '../../src/xmpp/register.ts';
import { startServer, type Server, type ServerOptions } from '../../src/xmpp/server.ts';
import { openSession, type Session, type SessionOptions } from '../../src/xmpp/session.ts';

export interface TestServer extends AsyncDisposable {
  readonly directory: string;
  /** The running one; another object after each restart, at the same address. */
  readonly server: Server;
  /** Registers the account unless this test file did before. */
  account(username: string): Promise<{ readonly username: string; readonly password: string }>;
  /** A session of that account. Sessions that tests forget are closed with the server. */
  open(username: string, options?: Partial<SessionOptions>): Promise<Session>;
  /** kill -9. */
  crash(): Promise<void>;
  /** The same directory, the same port. */
  restart(): Promise<void>;
}

const PASSWORD = 'correct horse, battery=staple';

export async function startTestServer(options: Partial<ServerOptions> = {}): Promise<TestServer> {
  const directory = await mkdtemp(join(tmpdir(), 'kith-test-'));
  let server = await startServer({ directory, log: silentLog, ...options }).catch(async (error: unknown) => {
    await rm(directory, { recursive: true, force: true });
    throw error;
  });
  const { port } = server;
  const token = await server.createToken();
  const accounts = new Map<string, Promise<void>>();
  const sessions = new Set<Session>();
  const pids = [server.pid];
  const account = async (username: string) => {
    const { host, domain, fingerprint } = server;
    const made =
      accounts.get(username) ??
      registerAccount({ host, port, domain, fingerprint, token, username, password: PASSWORD });
    accounts.set(username, made);
    await made;
    return { username, password: PASSWORD };
  };
  return {
    directory,
    get server() {
      return server;
    },
    account,
    async open(username, more = {}) {
      const { host, domain, fingerprint, bytesPerSecond } = server;
      const session = await openSession({
        host,
        port,
        domain,
        fingerprint,
        bytesPerSecond,
        ...(await account(username)),
        ...more,
      });
      sessions.add(session);
      void session.closed.then(() => sessions.delete(session));
      return session;
    },
    async crash() {
      process.kill(server.pid, 'SIGKILL');
      await server.closed;
    },
    async restart() {
      server = await startServer({ directory, log: silentLog, ...options, port });
      pids.push(server.pid);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...sessions].map((session) => session[Symbol.asyncDispose]()));
      await server[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
      for (const pid of pids) if (existsSync(`/proc/${pid}`)) throw new Error(`prosody ${pid} is left`);
      if (existsSync(directory)) throw new Error(`${directory} is left`);
    },
  };
}
