/** Settings of a peer: configuration file, then environment, then flags; the later wins. Secrets come from files alone, never from flags. */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { KithError } from '../base/errors.ts';
import { NAME_PATTERN } from '../base/ids.ts';
import { parseJson, parser } from '../base/validate.ts';
import type { CommandContext, OptionTable } from './command.ts';

/** `$XDG_CONFIG_HOME/kith/config.json`; all fields optional. */
interface ConfigFile {
  readonly jid?: string;
  /** A file with the password in its first line, mode 0600. */
  readonly passwordFile?: string;
  readonly server?: {
    readonly host?: string;
    readonly port?: number;
    readonly fingerprint?: string;
    readonly bytesPerSecond?: number;
  };
  readonly room?: string;
  readonly createRoom?: boolean;
  readonly nick?: string;
  readonly name?: string;
  readonly limits?: { readonly memoryMiB?: number; readonly cpus?: number; readonly guests?: number };
  /** Who may place guests here: everybody in the room, nobody, whom a human allows, or these bare JIDs. */
  readonly accept?: 'room' | 'ask' | 'none' | readonly string[];
  /** IP address that direct wires and data channels bind to. */
  readonly wireAddress?: string;
  /** Port of direct wires, for a router that passes it on; default: any that is free. */
  readonly wirePort?: number;
  /** Where that router is reached: `203.0.113.5:4000`. */
  readonly announce?: readonly string[];
  /** Ask the router to pass the port on by itself (PCP, NAT-PMP). Default: no. */
  readonly mapPort?: boolean;
  /** `stun:host:port`, `turn:user:password@host:port`. */
  readonly iceServers?: readonly string[];
}

export interface Config extends Omit<ConfigFile, 'passwordFile'> {
  readonly password?: string;
  /** The line that `kith host` printed. */
  readonly invitation?: string;
}

const text = { type: 'string', minLength: 1, maxLength: 1024 };
const count = { type: 'integer', minimum: 0, maximum: 1e9 };
const closed = (properties: Record<string, unknown>) => ({ type: 'object', additionalProperties: false, properties });
const name = { type: 'string', pattern: NAME_PATTERN };

const parseFile = parser<ConfigFile>(
  'configuration',
  'cli.config',
  closed({
    jid: { type: 'string', pattern: '^[^@/\\s]+@[^@/\\s]+$', maxLength: 1024 },
    passwordFile: text,
    server: closed({
      host: text,
      port: { type: 'integer', minimum: 1, maximum: 65_535 },
      fingerprint: text,
      bytesPerSecond: { type: 'integer', minimum: 500, maximum: 1e9 },
    }),
    room: { type: 'string', pattern: '^[^@/\\s]+@[^@/\\s]+$', maxLength: 1024 },
    createRoom: { type: 'boolean' },
    nick: { type: 'string', minLength: 1, maxLength: 64 },
    name,
    limits: closed({ memoryMiB: count, cpus: count, guests: count }),
    accept: {
      anyOf: [
        { type: 'string', enum: ['room', 'ask', 'none'] },
        { type: 'array', maxItems: 1000, items: text },
      ],
    },
    wireAddress: text,
    wirePort: { type: 'integer', minimum: 1, maximum: 65_535 },
    announce: { type: 'array', maxItems: 4, items: text },
    mapPort: { type: 'boolean' },
    iceServers: { type: 'array', maxItems: 16, items: text },
  }),
);

/** A setting as flag and environment variable: `--room` and `KITH_ROOM`. */
const SETTINGS: readonly {
  readonly flag: string;
  readonly path: readonly string[];
  readonly type?: 'number' | 'boolean';
  readonly help: string;
}[] = [
  { flag: 'name', path: ['name'], help: 'profile: names this peer for kith ps and its saved account' },
  { flag: 'nick', path: ['nick'], help: 'how friends see this peer in the room' },
  { flag: 'room', path: ['room'], help: 'room@service, when not by invitation' },
  {
    flag: 'create-room',
    path: ['createRoom'],
    type: 'boolean',
    help: 'make that room if it is not there (never with an invitation)',
  },
  { flag: 'jid', path: ['jid'], help: 'account@server, when not by invitation' },
  { flag: 'password-file', path: ['passwordFile'], help: 'file with its password (or KITH_PASSWORD)' },
  { flag: 'host', path: ['server', 'host'], help: 'where that server is reached, if not at its name' },
  { flag: 'port', path: ['server', 'port'], type: 'number', help: 'its direct TLS port, default 5223' },
  { flag: 'fingerprint', path: ['server', 'fingerprint'], help: 'SHA-256 of its certificate, if it is self-signed' },
  { flag: 'memory', path: ['limits', 'memoryMiB'], type: 'number', help: 'MiB that all guests here may have' },
  { flag: 'cpus', path: ['limits', 'cpus'], type: 'number', help: 'processors that one guest here may have' },
  { flag: 'wire-address', path: ['wireAddress'], help: 'IP address that direct wires and data channels bind to' },
];

/** Whose account an unnamed peer uses: the same at each start, so that neither accounts nor folders pile up. */
export const PROFILES = { initiator: 'run', worker: 'worker', peer: 'peer' } as const;

export const peerOptions: OptionTable = {
  ...Object.fromEntries(
    SETTINGS.map(({ flag, type }) => [flag, { type: type === 'boolean' ? type : ('string' as const) }]),
  ),
  invitation: { type: 'string' },
};

export const peerOptionHelp: Readonly<Record<string, string>> = {
  invitation: 'file with the line that kith host printed, - for standard input (or KITH_INVITATION)',
  ...Object.fromEntries(SETTINGS.map(({ flag, help }) => [flag, help])),
};

export async function loadConfig(context: Pick<CommandContext, 'values' | 'env' | 'paths'>): Promise<Config> {
  const { values, env, paths } = context;
  const file = await readConfigFile(join(paths.config, 'config.json'));
  const merged = structuredClone(file) as Record<string, unknown>;
  for (const { flag, path, type } of SETTINGS) {
    const given = values[flag] ?? (env[`KITH_${flag.replaceAll('-', '_').toUpperCase()}`] || undefined);
    if (given !== undefined) set(merged, path, valueOf(given, type));
  }
  const { passwordFile, ...settings } = parseFile(merged);
  const { password, invitation } = await readSecrets(context, passwordFile);
  return { ...settings, ...(password ? { password } : {}), ...(invitation ? { invitation } : {}) };
}

/** Where the server of an account is reached. */
export function serverOf(jid: string, server: Config['server']) {
  const [, domain = ''] = jid.split('@');
  return {
    host: server?.host ?? domain,
    port: server?.port ?? 5223, // direct TLS (XEP-0368)
    domain,
    ...(server?.fingerprint ? { fingerprint: server.fingerprint } : {}),
    // Polite on a server whose limit nobody has told us; its receipts show whether it bears more (src/xmpp/pace.ts).
    ...(server?.bytesPerSecond === undefined
      ? { bytesPerSecond: 2000, maxBytesPerSecond: 16_000 }
      : { bytesPerSecond: server.bytesPerSecond }),
  };
}

/** Variables are text. What is no number or truth value stays something that the schema refuses. */
function valueOf(given: unknown, type: 'number' | 'boolean' | undefined): unknown {
  if (type === 'number') return Number(given);
  return type === 'boolean' && (given === 'true' || given === 'false') ? given === 'true' : given;
}

/** As with all settings the flag wins over the environment, and that over the file. An empty variable is none. */
async function readSecrets({ values, env }: Pick<CommandContext, 'values' | 'env'>, passwordFile: string | undefined) {
  const byEnvironment = values['password-file'] === undefined ? env['KITH_PASSWORD'] : undefined;
  const password = byEnvironment || (passwordFile ? await readSecret(passwordFile, 'password') : undefined);
  const file = values['invitation'];
  const invitation = typeof file === 'string' ? await readInvitation(file) : env['KITH_INVITATION'];
  return { password, invitation };
}

function set(target: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [first = '', ...rest] = path;
  if (rest.length === 0) {
    target[first] = value;
    return;
  }
  const inner = (target[first] ??= {}) as Record<string, unknown>;
  set(inner, rest, value);
}

async function readConfigFile(path: string): Promise<ConfigFile> {
  let body: string;
  try {
    body = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {};
    throw new KithError({
      code: 'cli.config',
      message: `cannot read ${path}`,
      hint: 'make it readable or remove it',
      cause: error,
    });
  }
  try {
    return parseFile(parseJson('configuration', 'cli.config', body, 65_536));
  } catch (error) {
    throw new KithError({
      code: 'cli.config',
      message: `${path}: ${error instanceof Error ? error.message : String(error)}`,
      hint: 'the README lists all settings',
      cause: error,
    });
  }
}

/** Others must not be able to read a secret; ssh refuses such key files, and so do we. */
async function readSecret(path: string, what: string): Promise<string> {
  try {
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) {
      throw new KithError({
        code: 'cli.secret-mode',
        message: `others can read the ${what} in ${path}`,
        hint: `chmod 600 ${path}`,
      });
    }
    return (await readFile(path, 'utf8')).split('\n')[0]?.trim() ?? '';
  } catch (error) {
    if (error instanceof KithError) throw error;
    throw new KithError({
      code: 'cli.secret',
      message: `cannot read the ${what} in ${path}`,
      hint: 'check the path',
      cause: error,
    });
  }
}

async function readInvitation(path: string): Promise<string> {
  if (path === '-') return readAll(process.stdin);
  if (path.startsWith('kith:')) {
    throw new KithError({
      code: 'cli.secret-flag',
      message: 'an invitation on the command line can be read by everybody on this machine',
      hint: 'put it into a file, or pipe it: --invitation -',
    });
  }
  return readSecret(path, 'invitation');
}
