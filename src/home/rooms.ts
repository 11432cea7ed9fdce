/** What this home keeps of each room that it was invited into: account, certificate, bans. Files of mode 0600, shared by its processes. */
import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { takeLock } from '../base/lock.ts';
import { readPrivate, writePrivate } from '../base/private-file.ts';
import { parser, type Parse } from '../base/validate.ts';
import { decodeInvitation, type Invitation } from '../trust/invitation.ts';
import { openBans, openCertificate } from '../trust/membership.ts';

export interface SavedRoom {
  readonly version: 2;
  /** The line, as it came. */
  readonly invitation: string;
  readonly username: string;
  readonly password: string;
  /** Signed statements, see trust/membership.ts. */
  readonly certificate?: string;
  readonly bans?: string;
}

export type Learned = Pick<SavedRoom, 'certificate' | 'bans'>;

export interface Rooms {
  /** The room of this invitation, whichever line brought us there. */
  find(invitation: Invitation): Promise<SavedRoom | undefined>;
  /** The one that `kith join` entered last. */
  current(): Promise<SavedRoom | undefined>;
  /** What commands without an invitation use from now on. */
  makeCurrent(invitation: Invitation): Promise<void>;
  save(room: SavedRoom): Promise<void>;
  /** Adds to what is known; an older list of bans never replaces a newer one. */
  learn(invitation: Invitation, learned: Learned): Promise<void>;
  /** One process of this home at a time, so that two that start together do not both register. */
  alone<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T>;
}

const MAX_BYTES = 65_536;
/** A registration through a slow server takes seconds, its own deadline is 30 s. */
const LOCK_MS = 90_000;

const text = (maxLength: number) => ({ type: 'string', minLength: 1, maxLength });
const parseSaved = parser<SavedRoom>('the file', 'account.file', {
  type: 'object',
  additionalProperties: false,
  required: ['version', 'invitation', 'username', 'password'],
  properties: {
    version: { const: 2 },
    invitation: text(4096),
    username: text(1024),
    password: text(1024),
    certificate: text(4096),
    bans: text(16_384),
  },
});
const parsePointer = parser<{ readonly room: string }>('the file', 'account.file', {
  type: 'object',
  additionalProperties: false,
  required: ['room'],
  properties: { room: { type: 'string', pattern: '^[0-9a-f]{16}$' } },
});

/** `state`: the state directory of this user. */
export function openRooms(state: string): Rooms {
  const folder = join(state, 'rooms');
  const fileOf = (id: string) => join(folder, `${id}.json`);
  const pointer = join(folder, 'current.json');

  const put = (file: string, value: object) => writePrivate(file, `${JSON.stringify(value)}\n`);
  const load = (id: string) => read(fileOf(id), parseSaved);
  const alone = async <T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await using _lock = await takeLock(join(folder, 'lock'), { patienceMs: LOCK_MS, signal });
    return await work();
  };

  return {
    find: (invitation) => load(idOf(invitation)),
    async current() {
      const named = await read(pointer, parsePointer);
      return named && load(named.room);
    },
    makeCurrent: (invitation) => put(pointer, { room: idOf(invitation) }),
    save: (room) => put(fileOf(idOf(decodeInvitation(room.invitation))), room),
    learn: (invitation, learned) =>
      alone(async () => {
        const known = await load(idOf(invitation));
        if (!known) return;
        const bans = newer(known.bans, learned.bans);
        await put(fileOf(idOf(invitation)), { ...known, ...learned, ...(bans === undefined ? {} : { bans }) });
      }),
    alone,
  };
}

/** It has a certificate that holds. A running peer renews its own, long before it ends. */
export const isMember = ({ certificate }: SavedRoom): boolean =>
  certificate !== undefined && openCertificate(certificate).until > Date.now();

/** Inviter, server and room: another line of the same friend for the same room is the same membership. */
const idOf = ({ inviter, fingerprint, room }: Invitation): string =>
  createHash('sha256').update(`${inviter}\n${fingerprint}\n${room}`).digest('hex').slice(0, 16);

function newer(known: string | undefined, learned: string | undefined): string | undefined {
  if (known === undefined || learned === undefined) return learned ?? known;
  return openBans(learned).epoch >= openBans(known).epoch ? learned : known;
}

const read = <T>(file: string, parse: Parse<T>): Promise<T | undefined> =>
  readPrivate(file, {
    parse,
    maxBytes: MAX_BYTES,
    code: 'account.file',
    hint: 'mend it, or remove it and ask your friend for a new invitation',
  });
