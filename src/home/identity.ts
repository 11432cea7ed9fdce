/** Composition root of `kith id`, `contacts`, `verify` and `vouch`: the key of this device, and whom this home knows. */
import { writeFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readAccess } from './account.ts';
import { KithError } from '../base/errors.ts';
import type { Paths } from '../base/paths.ts';
import { openContacts, type Contact } from '../trust/contacts.ts';
import { fingerprintOf, openDevice } from '../trust/device.ts';
import { openVouch, signVouch } from '../trust/membership.ts';
import { isSoundKey } from '../trust/signed.ts';
import { wordsOf } from '../trust/words.ts';

export interface Identity {
  readonly fingerprint: string;
  /** What `kith vouch` on another device takes. */
  readonly key: string;
  readonly file: string;
  /** Of the room that was joined last. */
  readonly account?: string;
  readonly room?: string;
}

export interface KnownContact extends Contact {
  readonly fingerprint: string;
}

export interface Verification {
  readonly words: readonly string[];
  readonly fingerprint: string;
  /** Other keys by which this account is known: the new one takes their place. */
  readonly replaces: readonly KnownContact[];
}

export async function identityOf(paths: Paths): Promise<Identity> {
  const { key } = await openDevice(paths.state);
  const access = await readAccess({ line: undefined, paths });
  const { server, account, room } = access ?? {};
  return {
    fingerprint: fingerprintOf(key),
    key,
    file: join(paths.state, 'device.key'),
    ...(account && server ? { account: `${account.username}@${server.domain}` } : {}),
    ...(room === undefined ? {} : { room }),
  };
}

export async function contactsOf(paths: Paths): Promise<KnownContact[]> {
  return (await openContacts(paths.state)).list().map(withFingerprint);
}

/** `refused`: the key is there instead of the one that we know this friend by. */
export async function verificationOf(
  paths: Paths,
  peer: { readonly key: string; readonly account: string; readonly refused: boolean },
): Promise<Verification> {
  const { key: own } = await openDevice(paths.state);
  const contacts = await openContacts(paths.state);
  if (!isSoundKey(peer.key)) throw new TypeError('that is no key');
  return {
    words: await wordsOf(own, peer.key),
    fingerprint: fingerprintOf(peer.key),
    replaces:
      peer.refused && contacts.byDevice(peer.key) === undefined
        ? contacts.byAccount(peer.account).map(withFingerprint)
        : [],
  };
}

/** The words were compared. */
export async function pinVerified(
  paths: Paths,
  peer: { readonly key: string; readonly account: string; readonly nick: string },
  { replaces }: Verification,
): Promise<void> {
  const contacts = await openContacts(paths.state);
  for (const { device } of replaces) contacts.unpin(device);
  const { key: device, account, nick } = peer;
  contacts.pin({ device, account, nick, pin: 'verified', because: 'six words were compared' });
  await contacts.saved();
}

const PREFIX = 'kith-vouch:';

/** "That device is mine, too", as a line to be pasted there. */
export async function vouchFor(paths: Paths, key: string): Promise<string> {
  if (!isSoundKey(key)) {
    throw new KithError({
      code: 'cli.usage',
      message: `${key} is not the key of a device`,
      hint: 'kith id shows it on the new device',
    });
  }
  const device = await openDevice(paths.state);
  return PREFIX + Buffer.from(signVouch(device, key)).toString('base64url');
}

/** Keeps it for every room that this home enters. Gives the fingerprint of the device that vouches. */
export async function takeVouch(paths: Paths, line: string): Promise<string> {
  const text = line.trim();
  const signed = Buffer.from(text.slice(PREFIX.length), 'base64url').toString('utf8');
  const { key } = await openDevice(paths.state);
  const vouch = text.startsWith(PREFIX) && text.length < 1024 ? readVouchText(signed) : undefined;
  if (vouch === undefined)
    throw badVouch('this is not a vouch, or it was damaged', 'run kith vouch on your old device');
  if (vouch.device !== key) throw badVouch('this vouch is for another device', `on the old one: kith vouch ${key}`);
  await mkdir(paths.state, { recursive: true, mode: 0o700 });
  await writeFile(join(paths.state, 'vouch'), `${signed}\n`, { mode: 0o600 });
  return fingerprintOf(vouch.by);
}

function readVouchText(signed: string): ReturnType<typeof openVouch> | undefined {
  try {
    return openVouch(signed);
  } catch {
    return undefined;
  }
}

const withFingerprint = (contact: Contact): KnownContact => ({
  ...contact,
  fingerprint: fingerprintOf(contact.device),
});

const badVouch = (message: string, hint: string) =>
  new KithError({ code: 'trust.vouch', message, hint, retry: 'never' });
