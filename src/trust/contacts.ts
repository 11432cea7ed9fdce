/** The address book: which keys we know, whose they are, and how we came to trust them. One file of mode 0600. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, KithError } from '../base/errors.ts';
import { parseJson, parser } from '../base/validate.ts';
import { isSoundKey, KEY_PATTERN } from './signed.ts';

/**
 * How a key was pinned, strongest first. `self`: this very device. `verified`: six words were compared. `invited`: by an invitation,
 * theirs or ours, or by a certificate of whoever invited us. `vouched`: by another device of the same friend. `first-sight`: it was
 * the first to come under that account.
 */
export type Pin = 'verified' | 'invited' | 'vouched' | 'first-sight';
export const PINS: readonly Pin[] = ['verified', 'invited', 'vouched', 'first-sight'];

export interface Contact {
  /** Public key of one device. */
  readonly device: string;
  /** Bare JID. */
  readonly account: string;
  readonly nick: string;
  readonly pin: Pin;
  /** Fingerprint or words that say who or what made us pin it. */
  readonly because: string;
  /** ISO date. */
  readonly since: string;
}

export interface Contacts {
  list(): readonly Contact[];
  byDevice(device: string): Contact | undefined;
  byAccount(account: string): readonly Contact[];
  /** Adds it, or raises its pin; a stronger pin is never lowered. */
  pin(contact: Omit<Contact, 'since'>): void;
  /** Forgets a device. False: it was not there. */
  unpin(device: string): boolean;
  /** Resolves when everything is on disk. */
  saved(): Promise<void>;
  /** Takes in what another process of this user has written meanwhile. */
  reload(): Promise<void>;
}

const FILE = 'contacts.json';
const MAX_BYTES = 1_048_576;
/** More friends than this nobody has; strangers of a public room must not fill the disk. */
const MAX_CONTACTS = 2000;

const text = (maxLength: number) => ({ type: 'string', minLength: 1, maxLength });

const parseFile = parser<{ readonly version: 1; readonly contacts: readonly Contact[] }>('contacts', 'trust.contacts', {
  type: 'object',
  additionalProperties: false,
  required: ['version', 'contacts'],
  properties: {
    version: { type: 'integer', const: 1 },
    contacts: {
      type: 'array',
      maxItems: MAX_CONTACTS,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['device', 'account', 'nick', 'pin', 'because', 'since'],
        properties: {
          device: { type: 'string', pattern: KEY_PATTERN },
          account: text(1024),
          nick: text(1024),
          pin: { type: 'string', enum: [...PINS] },
          because: text(200),
          since: text(40),
        },
      },
    },
  },
});

export async function openContacts(folder: string, now: () => Date = () => new Date()): Promise<Contacts> {
  const file = join(folder, FILE);
  const byDevice = new Map<string, Contact>();
  /** Not to be found in the file any more, though it may still be there. */
  const removed = new Set<string>();
  let writing: Promise<void> = Promise.resolve();

  const merge = async () => {
    for (const contact of await read(file)) {
      if (!removed.has(contact.device)) strengthen(contact);
    }
  };

  const strengthen = (contact: Contact): boolean => {
    const known = byDevice.get(contact.device);
    if (known && PINS.indexOf(known.pin) <= PINS.indexOf(contact.pin)) return false;
    if (!known && byDevice.size >= MAX_CONTACTS) return false;
    byDevice.set(contact.device, contact);
    return true;
  };

  const save = () => {
    const before = writing;
    writing = (async () => {
      await before.catch(() => {});
      await merge(); // another process of ours may have learned something
      removed.clear();
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const draft = `${file}.${randomBytes(6).toString('hex')}`;
      const body = JSON.stringify({ version: 1, contacts: [...byDevice.values()] }, undefined, 1);
      await writeFile(draft, `${body}\n`, { mode: 0o600 });
      await rename(draft, file);
    })();
    writing.catch(() => {}); // whoever calls saved() hears of it
  };

  await merge();
  return {
    list: () => [...byDevice.values()],
    byDevice: (device) => byDevice.get(device),
    byAccount: (account) => [...byDevice.values()].filter((contact) => contact.account === account),
    pin(contact) {
      if (!isSoundKey(contact.device)) throw new TypeError('that is no key');
      removed.delete(contact.device);
      if (strengthen({ ...contact, since: now().toISOString() })) save();
    },
    unpin(device) {
      if (!byDevice.delete(device)) return false;
      removed.add(device);
      save();
      return true;
    },
    saved: () => writing,
    reload: merge,
  };
}

async function read(file: string): Promise<readonly Contact[]> {
  try {
    if ((await stat(file)).size > MAX_BYTES) throw new TypeError('it is too large');
    return parseFile(parseJson('contacts', 'trust.contacts', await readFile(file, 'utf8'), MAX_BYTES)).contacts;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw new KithError({
      code: 'trust.contacts',
      message: `${file}: ${describeError(error)}`,
      hint: 'mend it, or move it away and pin your friends anew',
      cause: error,
    });
  }
}
