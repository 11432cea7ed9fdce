/** Circles without a server: peers with keys of their own who hear each other's hellos, or what a liar makes of them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Capacity } from '../../src/protocol/capacity.ts';
import { openCircle, type Circle, type CircleOptions } from '../../src/trust/circle.ts';
import { openContacts, type Contacts } from '../../src/trust/contacts.ts';
import { openDevice, type Device } from '../../src/trust/device.ts';
import { CAPACITY } from './capacity.ts';

export const ROOM = 'friends@rooms.test';

export interface Party extends AsyncDisposable {
  readonly jid: string;
  readonly device: Device;
  readonly contacts: Contacts;
  readonly circle: Circle;
  readonly capacity: Capacity;
  /** Hears the hello of another, as the room would carry it. */
  hears(other: Party): void;
  /** The same home under another account or after a new start. */
  again(options?: Partial<CircleOptions> & { readonly jid?: string }): Promise<Party>;
}

export async function openParty(
  name: string,
  options: Partial<CircleOptions> & { readonly jid?: string } = {},
): Promise<Party> {
  const folder = await mkdtemp(join(tmpdir(), 'kith-party-'));
  return partyIn(folder, name, options);
}

async function partyIn(
  folder: string,
  name: string,
  options: Partial<CircleOptions> & { readonly jid?: string },
): Promise<Party> {
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
  return {
    jid,
    device,
    contacts,
    circle,
    capacity: CAPACITY,
    hears(other) {
      circle.meet(other.jid, other.jid.split('@')[0] ?? '', other.circle.hello(other.capacity));
    },
    again: (next = {}) => partyIn(folder, name, next),
    async [Symbol.asyncDispose]() {
      await contacts.saved();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Two who have heard each other. */
export async function introduce(one: Party, other: Party): Promise<void> {
  one.hears(other);
  other.hears(one);
}
