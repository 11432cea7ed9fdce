/** How far a peer is trusted whose hello has passed all checks, and what is pinned for it. */
import { describeError } from '../base/errors.ts';
import type { Capacity } from '../protocol/capacity.ts';
import { MAX_SKEW_MS } from './checks.ts';
import type { Contact, Contacts, Pin } from './contacts.ts';
import { fingerprintOf } from './device.ts';
import type { Hello } from './hello.ts';
import { notMember, openCertificate, openVouch } from './membership.ts';

/** `self`: another process of this very device. `stranger`: here without a certificate in a room that gives them. */
type Trust = 'self' | Pin | 'stranger';

export interface Member {
  /** Full JID. */
  readonly jid: string;
  readonly account: string;
  readonly nick: string;
  /** Public key. */
  readonly device: string;
  /** Public key for what is sealed. */
  readonly box: string;
  readonly session: string;
  readonly trust: Trust;
  /** What made us trust it, in words. */
  readonly because: string;
  readonly capacity: Capacity;
}

export interface Papers {
  /** Key of the device that vouches for it: one that we know under this very account. */
  voucher(hello: Hello, account: string): string | undefined;
  /** Devices whose pins rest on words that a ban has made void. */
  fallen(): readonly string[];
  /** Pins it. `until`: when its certificate is over and it has to be looked at anew. */
  standing(hello: Hello, account: string, nick: string): Pick<Member, 'trust' | 'because'> & { readonly until: number };
}

export function openPapers(options: {
  readonly device: string;
  readonly contacts: Contacts;
  readonly room: string;
  readonly inviter: string | undefined;
  readonly isBanned: (device: string) => boolean;
  readonly now: () => number;
}): Papers {
  const { device, contacts, room, inviter, isBanned, now } = options;

  const voucher = (hello: Hello, account: string): string | undefined => {
    if (hello.vouch === undefined) return undefined;
    try {
      const { device: vouched, by } = openVouch(hello.vouch);
      const known = contacts.of(by, account);
      const strong = known !== undefined && (known.pin === 'verified' || known.pin === 'invited');
      return vouched === hello.device && strong && !isBanned(by) ? by : undefined;
    } catch {
      return undefined;
    }
  };

  /** Until when it is a member by its certificate, or why not. */
  const certified = (hello: Hello, account: string): number | string => {
    if (hello.certificate === undefined || inviter === undefined) return 'it has no certificate';
    try {
      const proof = openCertificate(hello.certificate);
      if (proof.by !== inviter) return 'its certificate is not from whoever invites into this room';
      const facts = { room, device: hello.device, account, now: now(), skewMs: MAX_SKEW_MS };
      return notMember(proof, facts) ?? proof.until + MAX_SKEW_MS;
    } catch (error) {
      return describeError(error);
    }
  };

  /** What speaks for it here and now. */
  const groundsOf = (
    hello: Hello,
    account: string,
    certificate: number | string,
  ): Pick<Contact, 'pin' | 'because' | 'by'> | undefined => {
    if (inviter === undefined) {
      const by = voucher(hello, account);
      return by === undefined
        ? { pin: 'first-sight', because: 'the first key under this account' }
        : vouchedBy(by, account);
    }
    if (hello.device === inviter) return { pin: 'invited', because: 'it invited us into this room', by: inviter };
    if (typeof certificate === 'number') {
      const name = contacts.byDevice(inviter)?.nick;
      const whose =
        inviter === device ? 'this device' : [name, fingerprintOf(inviter).slice(0, 9)].filter(Boolean).join(' ');
      return { pin: 'invited', because: `certificate of ${whose}`, by: inviter };
    }
    const by = voucher(hello, account);
    // Whom a certificate made a friend does not make others: his may be over.
    return by === undefined || contacts.of(by, account)?.pin === 'invited' ? undefined : vouchedBy(by, account);
  };

  const vouchedBy = (by: string, account: string) => ({
    pin: 'vouched' as const,
    because: `by ${contacts.of(by, account)?.nick ?? fingerprintOf(by).slice(0, 9)}`,
    by,
  });

  return {
    voucher,
    fallen: () =>
      contacts
        .list()
        .filter(({ device: key, pin, by = inviter }) => {
          // Whoever invites into one room must not wipe out what we know from elsewhere, or what its owner has seen for himself.
          if (pin === 'invited') return by === inviter && isBanned(key);
          return pin === 'vouched' && by !== undefined && isBanned(by);
        })
        .map(({ device: key }) => key),
    standing(hello, account, nick) {
      if (hello.device === device) return { trust: 'self', because: 'the key of this device', until: Infinity };
      const certificate = certified(hello, account);
      const until = typeof certificate === 'number' ? certificate : Infinity;
      const grounds = groundsOf(hello, account, certificate);
      // The words were compared for the key, and now somebody whom we believe says whose this account is.
      const compared = contacts.byDevice(hello.device);
      const raised =
        grounds?.pin === 'invited' && compared?.pin === 'verified'
          ? { pin: compared.pin, because: compared.because }
          : undefined;
      if (grounds) contacts.pin({ device: hello.device, account, nick, ...grounds, ...raised });
      const contact = contacts.of(hello.device, account);
      // An old pin is no membership where there are certificates: whoever was thrown out would stay for those who did not hear of it.
      if (contact?.pin === 'verified' || (contact && inviter === undefined))
        return { trust: contact.pin, because: contact.because, until };
      if (inviter === undefined) return { trust: 'stranger', because: 'the address book is full', until };
      if (grounds) return { trust: grounds.pin, because: grounds.because, until };
      return { trust: 'stranger', because: typeof certificate === 'string' ? certificate : 'nobody invited it', until };
    },
  };
}
