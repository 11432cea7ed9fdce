/** The address book: which keys we know, whose they are, and how we came to trust them. One file of mode 0600. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { asciiJson } from '../base/ascii.ts';
import { takeLock } from '../base/lock.ts';
import { readPrivate, writePrivate } from '../base/private-file.ts';
import { parser } from '../base/validate.ts';
import { isSoundKey, KEY_PATTERN } from './signed.ts';

/**
 * How a key was pinned, strongest first. `self`: this very device. `verified`: six words were compared. `invited`: by an invitation,
 * theirs or ours, or by a certificate of whoever invited us. `vouched`: by another device of the same friend. `first-sight`: it was
 * the first to come under that account.
 */
export type Pin = 'verified' | 'invited' | 'vouched' | 'first-sight';
export const PINS: readonly Pin[] = ['verified', 'invited', 'vouched', 'first-sight'];

/** One device under one account. */
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
  /** Key on whose word it was pinned, which may take it back. */
  readonly by?: string;
}

export interface Contacts {
  list(): readonly Contact[];
  /** This device under this account. */
  of(device: string, account: string): Contact | undefined;
  /** The strongest, if it is known under several accounts. */
  byDevice(device: string): Contact | undefined;
  byAccount(account: string): readonly Contact[];
  /** Adds it, or raises its pin; a stronger pin is never lowered. */
  pin(contact: Omit<Contact, 'since'>): void;
  /** Forgets a device under all its accounts, for all processes of this home. False: it was not there. */
  unpin(device: string): boolean;
  /** Resolves when everything is on disk. */
  saved(): Promise<void>;
  /** Takes in what another process of this user has written meanwhile. */
  reload(): Promise<void>;
}

interface Removal {
  readonly device: string;
  /** ISO date: what was pinned later holds. */
  readonly at: string;
}

interface Book {
  readonly contacts: readonly Contact[];
  readonly removed?: readonly Removal[];
}

const FILE = 'contacts.json';
/** More friends than this nobody has; strangers of a public room must not fill the disk. */
const MAX_CONTACTS = 2000;
/** Longer names are cut, so that the book can always be read again. */
const MAX_NICK = 64;
const MAX_REASON = 200;
const MAX_ACCOUNT = 1024;
/** All contacts with the longest of everything, in the widest script, and as many removals. */
const MAX_BYTES = 16 * 1_048_576;
/** Saving takes milliseconds; a process that was stopped in the middle must not stop the others for ever. */
const LOCK_MS = 10_000;

const text = (maxLength: number) => ({ type: 'string', minLength: 1, maxLength });
const key = { type: 'string', pattern: KEY_PATTERN };
const date = { type: 'string', pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$' };
const listOf = (properties: Record<string, unknown>, optional: Record<string, unknown> = {}) => ({
  type: 'array',
  maxItems: MAX_CONTACTS,
  items: {
    type: 'object',
    additionalProperties: false,
    required: Object.keys(properties),
    properties: { ...properties, ...optional },
  },
});

const parseFile = parser<Book>('contacts', 'trust.contacts', {
  type: 'object',
  additionalProperties: false,
  required: ['version', 'contacts'],
  properties: {
    version: { type: 'integer', const: 1 },
    contacts: listOf(
      {
        device: key,
        account: text(MAX_ACCOUNT),
        nick: text(2 * MAX_NICK),
        pin: { type: 'string', enum: [...PINS] },
        because: text(2 * MAX_REASON),
        since: date,
      },
      { by: key },
    ),
    removed: listOf({ device: key, at: date }),
  },
});

const strength = ({ pin }: Contact): number => -PINS.indexOf(pin);

export async function openContacts(folder: string, now: () => Date = () => new Date()): Promise<Contacts> {
  const file = join(folder, FILE);
  const rows = new Map<string, Contact>();
  /** When devices were forgotten, oldest first: a row from before, in the file or with another process, is void. */
  const removed = new Map<string, string>();
  let writing: Promise<void> = Promise.resolve();
  let waiting = false;

  const nameOf = ({ device, account }: Pick<Contact, 'device' | 'account'>) => asciiJson([device, account]);
  const isVoid = ({ device, since }: Contact) => since <= (removed.get(device) ?? '');

  const remove = ({ device, at }: Removal): void => {
    if (at <= (removed.get(device) ?? '')) return;
    removed.delete(device);
    removed.set(device, at);
    for (const oldest of removed.keys()) if (removed.size > MAX_CONTACTS) removed.delete(oldest);
    for (const [name, row] of rows) if (row.device === device && isVoid(row)) rows.delete(name);
  };

  const strengthen = (contact: Contact): boolean => {
    const name = nameOf(contact);
    const known = rows.get(name);
    if (isVoid(contact) || (known && strength(known) >= strength(contact))) return false;
    if (!known && rows.size >= MAX_CONTACTS && !makeRoom(contact)) return false;
    rows.set(name, contact);
    return true;
  };

  /** Whoever makes up accounts until the book is full must neither keep friends out of it nor push any out. */
  const makeRoom = ({ pin }: Contact): boolean => {
    const newest = [...rows].findLast(([, row]) => row.pin === 'first-sight');
    return pin !== 'first-sight' && newest !== undefined && rows.delete(newest[0]);
  };

  const merge = async () => {
    const book = await readPrivate(file, {
      parse: parseFile,
      maxBytes: MAX_BYTES,
      code: 'trust.contacts',
      hint: 'mend it, or move it away and pin your friends anew',
    });
    if (!book) return;
    for (const removal of book.removed ?? []) remove(removal);
    for (const contact of book.contacts) strengthen(contact);
  };

  const write = async () => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await using _lock = await takeLock(`${file}.lock`, { patienceMs: LOCK_MS });
    await merge(); // another process of ours may have learned something
    const book = {
      version: 1,
      contacts: [...rows.values()],
      removed: [...removed].map(([device, at]) => ({ device, at })),
    };
    await writePrivate(file, `${JSON.stringify(book, undefined, 1)}\n`);
  };

  /** What is learned while one writing waits for its turn goes with it. */
  const save = () => {
    if (waiting) return;
    waiting = true;
    const before = writing;
    writing = (async () => {
      await before.catch(() => {});
      waiting = false;
      await write();
    })();
    writing.catch(() => {}); // whoever calls saved() hears of it
  };

  await merge();
  return {
    list: () => [...rows.values()],
    of: (device, account) => rows.get(nameOf({ device, account })),
    byDevice: (device) =>
      [...rows.values()].filter((row) => row.device === device).toSorted((a, b) => strength(b) - strength(a))[0],
    byAccount: (account) => [...rows.values()].filter((row) => row.account === account),
    pin(contact) {
      const { device, account } = contact;
      if (!isSoundKey(device)) throw new TypeError('that is no key');
      if (account.length === 0 || account.length > MAX_ACCOUNT) throw new TypeError('that is no account');
      const nick = clean(contact.nick, MAX_NICK) || clean(account, MAX_NICK);
      const because = clean(contact.because, MAX_REASON) || '?';
      // Clocks step back, and two things happen in one millisecond: what is pinned now is pinned after all that was removed.
      const since = new Date(Math.max(now().getTime(), Date.parse(removed.get(device) ?? '1970') + 1)).toISOString();
      if (strengthen({ ...contact, nick, because, since })) save();
    },
    unpin(device) {
      const known = [...rows.values()].filter((row) => row.device === device);
      if (known.length === 0) return false;
      const times = known.map(({ since }) => Date.parse(since));
      remove({ device, at: new Date(Math.max(now().getTime(), ...times)).toISOString() });
      save();
      return true;
    },
    saved: () => writing,
    reload: merge,
  };
}

/** Names that strangers choose, for files and terminals: no control characters, nothing invisible, nothing that turns text around. */
const clean = (name: string, max: number): string =>
  Array.from(name.slice(0, 4 * max).replace(/\p{C}/gu, '?'))
    .slice(0, max)
    .join('')
    .trim();
