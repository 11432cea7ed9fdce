/** What a host must not forget: invitations it gave out, and who is banned. Written as a whole at each change, mode 0600. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describeError, KithError } from '../base/errors.ts';
import { parseJson, parser } from '../base/validate.ts';
import { parseGrants, type Grant } from '../trust/gate.ts';
import { openBans } from '../trust/membership.ts';

/** A banned device, as it was known: its name and account are for people and for lifting the ban. */
export interface BanRecord {
  readonly device: string;
  readonly account: string;
  readonly nick: string;
}

/** Of a room by its name: a host that starts anew keeps its bans, though its server and all accounts are new. */
export interface BanState {
  /** Signed list, see trust/membership.ts. */
  readonly signed?: string;
  readonly records: readonly BanRecord[];
}

/** Of one server: lives and goes with its directory. */
export interface ServerState {
  readonly port?: number;
  readonly grants: readonly Grant[];
}

const MAX_BYTES = 8 * 1024 * 1024;
const text = { type: 'string', minLength: 1, maxLength: 1024 };

const parseBanState = parser<BanState>('the file', 'host.file', {
  type: 'object',
  additionalProperties: false,
  required: ['records'],
  properties: {
    signed: { type: 'string', maxLength: 16_384 },
    records: {
      type: 'array',
      maxItems: 200,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['device', 'account', 'nick'],
        properties: { device: text, account: text, nick: text },
      },
    },
  },
});
const parseServerState = parser<ServerState>('the file', 'host.file', {
  type: 'object',
  additionalProperties: false,
  required: ['grants'],
  properties: { port: { type: 'integer', minimum: 1, maximum: 65_535 }, grants: { type: 'array' } },
});

export const bansFile = (state: string, room: string): string =>
  join(state, 'hosts', `bans-${createHash('sha256').update(room).digest('hex').slice(0, 16)}.json`);

export async function readBans(file: string): Promise<BanState> {
  const state = await read(file, parseBanState);
  if (state?.signed !== undefined) openBans(state.signed);
  return state ?? { records: [] };
}

export async function readServerState(file: string): Promise<ServerState> {
  const state = await read(file, parseServerState);
  return { ...state, grants: parseGrants(state?.grants ?? []) };
}

/** One write after the other: a slow older one must not come last. */
export function stateWriter(file: string): (state: BanState | ServerState) => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  return (state) => {
    last = last.catch(() => {}).then(() => write(file, state));
    return last;
  };
}

async function write(file: string, state: BanState | ServerState): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const draft = `${file}.${randomBytes(6).toString('hex')}`;
  await writeFile(draft, `${JSON.stringify(state)}\n`, { mode: 0o600, flag: 'wx' });
  await rename(draft, file);
}

async function read<T>(file: string, parse: (value: unknown) => T): Promise<T | undefined> {
  try {
    return parse(parseJson('the file', 'host.file', await readFile(file, 'utf8'), MAX_BYTES));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new KithError({
      code: 'host.file',
      message: `cannot use ${file}: ${describeError(error)}`,
      hint: 'mend it; without it the room forgets whom it banned or invited',
      cause: error,
    });
  }
}
