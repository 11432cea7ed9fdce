/** The embedded default server: a private Prosody with direct TLS only, that lives and dies with us. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { KithError } from '../base/errors.ts';
import { silentLog, type Log } from '../base/log.ts';
import { findProgram, startChild, type Child } from '../base/process.ts';
import { ensureCertificate } from './certificate.ts';
import { registrationToken } from '../protocol/tokens.ts';
import { freePort, hasListener, waitForServer } from './listening.ts';
import { registerAccount } from './register.ts';
import { prosodyConfig, STOCK_BYTES_PER_SECOND } from './server-config.ts';

export interface ServerOptions {
  /** A private directory that exists. Accounts, rooms and the certificate stay in it, so the same directory is the same server. */
  readonly directory: string;
  /** Address to listen on. Default 127.0.0.1. */
  readonly listen?: string;
  /** A free one if absent. */
  readonly port?: number;
  /** Limit per connection; `stock` is what Debian's Prosody has (10 kB/s). Default 1,000,000. */
  readonly bytesPerSecond?: number | 'stock';
  /** XMPP domain of accounts. Never looked up. Default `kith.internal` (ICANN reserved .internal for private use). */
  readonly domain?: string;
  readonly storage?: 'internal' | 'memory';
  /** How long a lost session can be resumed and haunts the room. Default 60. */
  readonly hibernationSeconds?: number;
  readonly modules?: readonly string[];
  /** Options of such modules. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly log?: Log;
  readonly signal?: AbortSignal;
}

export interface TokenTerms {
  /** Milliseconds since 1970. */
  readonly expires: number;
  /** How many accounts it makes. */
  readonly uses: number;
}

export interface Server extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly domain: string;
  /** SHA-256 of the certificate, as Node's `fingerprint256`. */
  readonly fingerprint: string;
  readonly bytesPerSecond: number;
  /** Domain of rooms. */
  readonly mucService: string;
  readonly adminAccount: { readonly username: string; readonly password: string };
  /** Prosody's process. */
  readonly pid: number;
  /** A token that makes accounts. Without terms: any number, until the directory is gone. */
  createToken(terms?: TokenTerms): Promise<string>;
  /** It makes no account from now on. */
  revokeToken(token: string): Promise<void>;
  /** Resolves with the reason when Prosody has ended, also after disposal. */
  readonly closed: Promise<string>;
}

const ADMIN = 'kith-host';
const UNLIMITED: TokenTerms = { expires: Number.MAX_SAFE_INTEGER, uses: 1_000_000_000 };
/** Start takes 0.1 s when quiet, 1.1 s on a loaded machine (measured). */
const START_DEADLINE_MS = 30_000;
const LOG_LINES = 20;

export async function startServer(options: ServerOptions): Promise<Server> {
  const { directory, listen = '127.0.0.1', domain = 'kith.internal', log = silentLog, signal } = options;
  const program = findProgram('prosody');
  if (!program) {
    throw new KithError({
      code: 'xmpp.prosody-missing',
      message: 'cannot start the room server: prosody not found',
      hint: 'install it with apt install prosody, or use an account on another XMPP server',
    });
  }
  const fingerprint = await ensureCertificate(directory, domain, signal);
  await mkdir(join(directory, 'data'), { recursive: true, mode: 0o700 });
  const port = options.port ?? (await freePort(listen));
  if (await hasListener(listen, port)) throw portTaken(listen, port);
  const mucService = `rooms.${domain}`;
  const bytesPerSecond = options.bytesPerSecond ?? 1_000_000;
  const file = join(directory, 'prosody.cfg.lua');
  const text = prosodyConfig({
    directory,
    plugins: join(import.meta.dirname, 'prosody'),
    listen,
    port,
    domain,
    mucService,
    admin: `${ADMIN}@${domain}`,
    runAsRoot: process.getuid?.() === 0,
    bytesPerSecond,
    storage: options.storage ?? 'internal',
    hibernationSeconds: options.hibernationSeconds ?? 60,
    modules: options.modules ?? [],
    settings: options.settings ?? {},
  });
  await writeFile(file, text, { mode: 0o600 });
  signal?.throwIfAborted();

  const child = startChild(program, ['-F', '--config', file], { cwd: directory, killAfterMs: 3000 });
  const tail = followLog(child, log);
  const closed = ended(child, tail);
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await closed;
  };
  try {
    const trouble = closed.then((reason) => {
      if (tail.some((line) => line.includes('Address already in use'))) throw portTaken(listen, port);
      throw new KithError({
        code: 'xmpp.prosody-died',
        message: reason,
        hint: 'its last words are above; check the free disk space and the directory',
      });
    });
    const address = reachable(listen);
    const waiting = new AbortController();
    const asked = AbortSignal.any([waiting.signal, ...(signal ? [signal] : [])]);
    await Promise.race([
      waitForServer({ host: address, port, fingerprint, deadlineMs: START_DEADLINE_MS, signal: asked }),
      trouble,
    ]).finally(() => waiting.abort());
    if (tail.some((line) => line.includes('Failed to open server port'))) throw portTaken(listen, port);
    const createToken = async ({ expires, uses }: TokenTerms = UNLIMITED): Promise<string> => {
      const token = randomBytes(16).toString('hex');
      const line = `${registrationToken(token)} ${Math.floor(expires / 1000)} ${uses}\n`;
      await appendFile(join(directory, 'tokens'), line, { mode: 0o600 });
      return token;
    };
    const password = await ensureAdmin(directory, async (fresh) => {
      const token = await createToken({ ...UNLIMITED, uses: 1 });
      await registerAccount({
        host: address,
        port,
        domain,
        fingerprint,
        token,
        username: ADMIN,
        password: fresh,
        ...(signal ? { signal } : {}),
      });
    });
    log.info('server started', { host: listen, port, domain, pid: child.pid });
    return {
      host: listen,
      port,
      domain,
      fingerprint,
      bytesPerSecond: bytesPerSecond === 'stock' ? STOCK_BYTES_PER_SECOND : bytesPerSecond,
      mucService,
      adminAccount: { username: ADMIN, password },
      pid: child.pid ?? 0,
      createToken,
      revokeToken: (token) => appendFile(join(directory, 'revoked'), `${registrationToken(token)}\n`, { mode: 0o600 }),
      closed,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** An address that reaches a server which listens on `listen`. */
const reachable = (listen: string): string => (listen === '0.0.0.0' ? '127.0.0.1' : listen === '::' ? '::1' : listen);

const portTaken = (listen: string, port: number): KithError =>
  new KithError({
    code: 'xmpp.port-taken',
    message: `cannot start the room server: port ${port} on ${listen} is taken by another program`,
    hint: 'choose another port, or leave it out to get a free one',
  });

/** The account that owns rooms. It is made before anybody else can know a token, and kept for the next start. */
async function ensureAdmin(directory: string, register: (password: string) => Promise<void>): Promise<string> {
  const file = join(directory, 'admin');
  if (existsSync(file)) return (await readFile(file, 'utf8')).trim();
  const password = randomBytes(24).toString('base64url');
  await register(password);
  await writeFile(file, `${password}\n`, { mode: 0o600 });
  return password;
}

function followLog(child: Child, log: Log): string[] {
  const tail: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    if (!stream) continue;
    createInterface({ input: stream }).on('line', (line) => {
      tail.push(line.slice(0, 500));
      if (tail.length > LOG_LINES) tail.shift();
      log.debug('server said', { line: line.slice(0, 500) });
    });
  }
  return tail;
}

async function ended(child: Child, tail: readonly string[]): Promise<string> {
  const result = await child;
  const how = result.signal ? `was ended by ${result.signal}` : `ended with exit code ${result.exitCode}`;
  return [`prosody ${how}`, ...tail.slice(-8)].join('\n  ');
}
