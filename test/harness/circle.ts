/** Circles without a server: peers with keys of their own who hear each other's hellos, or what a liar makes of them. */
import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Capacity } from '../../src/protocol/capacity.ts';
import { openCircle, type Circle, type CircleOptions } from '../../src/trust/circle.ts';
import { openContacts, type Contacts } from '../../src/trust/contacts.ts';
import { openDevice, type Device } from '../../src/trust/device.ts';
import { readHello, signHello, type Hello } from '../../src/trust/hello.ts';
import { signCertificate } from '../../src/trust/membership.ts';
import { CAPACITY } from './capacity.ts';

export const ROOM = 'friends@rooms.test';
const HOUR = 3_600_000;

export interface Party extends AsyncDisposable {
  readonly jid: string;
  readonly account: string;
  readonly device: Device;
  readonly contacts: Contacts;
  readonly circle: Circle;
  readonly capacity: Capacity;
  /** Its hello of now. */
  readonly says: () => string;
  /** Its hello with something changed, signed again. */
  saying(more: Partial<Hello>, by?: Device): string;
  /** Hears the hello of another, or what somebody makes of it, as the room would carry it. */
  hears(other: Pick<Party, 'jid' | 'says'>, signed?: string): void;
  /** The same home under another account or after a new start. */
  again(options?: PartyOptions): Promise<Party>;
}

export type PartyOptions = Partial<CircleOptions> & { readonly jid?: string };

export async function openParty(name: string, options: PartyOptions = {}): Promise<Party> {
  const folder = await mkdtemp(join(tmpdir(), 'kith-party-'));
  return partyIn(folder, name, options);
}

async function partyIn(folder: string, name: string, options: PartyOptions): Promise<Party> {
  const { jid = `${name}@host.test/${name}`, ...more } = options;
  const device = await openDevice(folder);
  const contacts = await openContacts(folder);
  const circle = await openCircle({
    device,
    contacts,
    room: ROOM,
    self: () => jid,
    inviter: undefined,
    certificate: undefined,
    vouch: undefined,
    bans: undefined,
    ...more,
  });
  const says = () => circle.hello(CAPACITY);
  return {
    jid,
    account: jid.split('/')[0]!,
    device,
    contacts,
    circle,
    capacity: CAPACITY,
    says,
    saying: (changes, by = device) => signHello(by, { ...readHello(says()), ...changes }),
    hears(other, signed = other.says()) {
      circle.meet(other.jid, other.jid.split('@')[0] ?? '', signed);
    },
    again: (next = {}) => partyIn(folder, name, next),
    async [Symbol.asyncDispose]() {
      await contacts.saved();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** All have heard each other. */
export async function introduce(...all: readonly Party[]): Promise<void> {
  for (const one of all) for (const other of all) if (one !== other) one.hears(other);
}

/** A key of nobody. */
export function newDevice(): Device {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { key: publicKey.export({ format: 'jwk' }).x ?? '', sign: (bytes) => sign(null, bytes, privateKey) };
}

/** Valid from an hour ago to an hour from now. */
export const certify = (
  inviter: Device,
  who: { readonly device: Device; readonly account: string },
  now = Date.now(),
): string =>
  signCertificate(inviter, {
    room: ROOM,
    device: who.device.key,
    account: who.account,
    since: now - HOUR,
    until: now + HOUR,
  });

/** Members of a room that gives certificates, who know each other. */
export async function openCertified(inviter: Device, ...names: readonly string[]): Promise<Party[]> {
  const all = await Promise.all(names.map((name) => openParty(name, { inviter: inviter.key })));
  for (const one of all) one.circle.certify(certify(inviter, one));
  await introduce(...all);
  return all;
}
