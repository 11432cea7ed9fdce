/** What a host must not forget: invitations it gave out, and who is banned. Written as a whole at each change, mode 0600. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readPrivate, writePrivate } from '../base/private-file.ts';
import { parser, type Parse } from '../base/validate.ts';
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
    last = last.catch(() => {}).then(() => writePrivate(file, `${JSON.stringify(state)}\n`));
    return last;
  };
}

const read = <T>(file: string, parse: Parse<T>): Promise<T | undefined> =>
  readPrivate(file, {
    parse,
    maxBytes: MAX_BYTES,
    code: 'host.file',
    hint: 'mend it; without it the room forgets whom it banned or invited',
  });
