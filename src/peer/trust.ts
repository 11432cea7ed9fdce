/** Composition of a peer's trust: its key, its friends, its circle in the room, and the certificate that its inviter gives. */
import { describeError, KithError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Ask } from '../job/guest-client.ts';
import type { Who } from '../job/policy.ts';
import { openCircle, type Circle, type Member } from '../trust/circle.ts';
import { openContacts, type Contacts } from '../trust/contacts.ts';
import { fingerprintOf, openDevice, type Device } from '../trust/device.ts';
import { CERTIFICATE_MS, openCertificate } from '../trust/membership.ts';
import type { Introductions } from '../xmpp/room.ts';

/** What this home knows of a room that it was invited into. */
export interface TrustOptions {
  /** Device key of whoever invited us. Undefined: friends are pinned as they come. */
  readonly inviter?: string | undefined;
  readonly certificate?: string | undefined;
  /** The newest list of bans. */
  readonly bans?: string | undefined;
  /** Of the invitation: shown to the inviter for a certificate. */
  readonly token?: string | undefined;
  readonly vouch?: string | undefined;
  /** Keeps what was learned for the next start. */
  readonly save: (learned: { readonly certificate?: string; readonly bans?: string }) => Promise<void>;
}

export interface PeerTrust {
  readonly device: Device;
  readonly contacts: Contacts;
  readonly circle: Circle;
}

export async function openTrust(options: {
  readonly trust: TrustOptions;
  readonly room: string;
  readonly stateDirectory: string;
  readonly self: () => string;
  readonly log: Log;
}): Promise<PeerTrust> {
  const { trust, room, stateDirectory, self, log } = options;
  const device = await openDevice(stateDirectory);
  const contacts = await openContacts(stateDirectory);
  const { inviter, certificate, bans, vouch } = trust;
  const circle = await openCircle({ device, contacts, room, self, inviter, certificate, bans, vouch, log });
  return { device, contacts, circle };
}

/** A stranger has no capacity: nobody asks it for a place. */
export const welcome = (member: Member | undefined): Member | undefined =>
  member?.trust === 'stranger' ? undefined : member;

export function introductionsOf(circle: Circle): Introductions {
  return {
    hello: (capacity) => circle.hello(capacity),
    meet: (jid, nick, text) => welcome(circle.meet(jid, nick, text)),
    leave: (jid) => circle.leave(jid),
  };
}

/** For the owner's policy: only what this very peer has proven in its hello. */
export function whoIs({ circle }: PeerTrust, jid: string): Who | undefined {
  const member = welcome(circle.member(jid));
  if (!member || member.trust === 'stranger') return undefined;
  return { account: member.account, device: fingerprintOf(member.device), trust: member.trust };
}

/** A certificate that lives for less than half of its time is due for a new one. */
function needsCertificate({ circle, device }: PeerTrust, inviter: string | undefined): boolean {
  if (inviter === undefined || inviter === device.key) return false;
  if (circle.certificate === undefined) return true;
  try {
    const { by, until } = openCertificate(circle.certificate);
    return by !== inviter || until - Date.now() < CERTIFICATE_MS / 2;
  } catch {
    return true;
  }
}

/** Asks whoever invited us. Rejects with its reason, or `trust.no-inviter` while it is not in the room. */
export async function obtainCertificate(
  { circle }: PeerTrust,
  options: { readonly trust: TrustOptions; readonly ask: Ask; readonly signal: AbortSignal },
): Promise<void> {
  const { trust, ask, signal } = options;
  const inviter = circle.members.find(({ device }) => device === trust.inviter);
  if (!inviter) {
    throw new KithError({
      code: 'trust.no-inviter',
      message: 'whoever invited us is not in the room, so nobody can say that we belong to it',
      hint: 'ask your friend to start kith host again',
      retry: 'later',
    });
  }
  const { certificate } = await ask(inviter.jid, { kind: 'room.join', token: trust.token ?? '' }, { signal });
  openCertificate(certificate);
  circle.certify(certificate);
  await trust.save({ certificate });
}

/** As `obtainCertificate`, but a failure is only a warning: the room may change. */
export async function tryCertificate(
  peer: PeerTrust,
  options: { readonly trust: TrustOptions; readonly ask: Ask; readonly signal: AbortSignal; readonly log: Log },
): Promise<boolean> {
  if (!needsCertificate(peer, options.trust.inviter)) return false;
  try {
    await obtainCertificate(peer, options);
    return true;
  } catch (error) {
    if (!options.signal.aborted) options.log.warn('no certificate for this room', { reason: describeError(error) });
    return false;
  }
}
