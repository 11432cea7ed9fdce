/** The authority of a room: gives out invitations, lets devices in by them, and throws them out. */
import { describeError, KithError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Banned, HostApi, InvitationStatus, IssuedInvitation } from '../control/host-api.ts';
import type { BanRecord } from './state.ts';
import type { Circle } from '../trust/circle.ts';
import type { Contacts } from '../trust/contacts.ts';
import { fingerprintOf, type Device } from '../trust/device.ts';
import { tokenId, type Gate, type Grant } from '../trust/gate.ts';
import { decodeInvitation, encodeInvitation, type Invitation } from '../trust/invitation.ts';
import { CERTIFICATE_MS, MAX_BANNED, openBans, signBans, signCertificate } from '../trust/membership.ts';

export interface DeskOptions {
  readonly device: Device;
  readonly contacts: Contacts;
  readonly circle: Circle;
  readonly gate: Gate;
  /** Bare JID. */
  readonly room: string;
  /** What all invitations have in common. */
  readonly place: Pick<Invitation, 'host' | 'port' | 'domain' | 'fingerprint' | 'bytesPerSecond'>;
  readonly nick: string;
  /** Those that are banned already. */
  readonly banned: readonly BanRecord[];
  readonly server: {
    createToken(terms: { readonly expires: number; readonly uses: number }): Promise<string>;
    revokeToken(token: string): Promise<void>;
  };
  /** Puts an account out of the room, or lets it in again. */
  readonly setOutcast: (account: string, out: boolean) => Promise<void>;
  readonly saveGrants: (grants: readonly Grant[]) => Promise<void>;
  readonly saveBans: (signed: string, records: readonly BanRecord[]) => Promise<void>;
  readonly now: () => number;
  readonly log: Log;
}

export interface Desk extends Pick<HostApi, 'invite' | 'invitations' | 'revoke' | 'ban' | 'unban'> {
  /** The answer to a `room.join` of a member of the circle: a certificate, or the gate's refusal. */
  admit(from: string, token: string): Promise<{ readonly certificate: string }>;
}

export function openDesk(options: DeskOptions): Desk {
  const { device, contacts, circle, gate, room, place, server, now, log } = options;
  let records = [...options.banned];

  const invite = async (params: {
    readonly seconds: number;
    readonly uses: number;
    readonly nick?: string;
  }): Promise<IssuedInvitation> => {
    const { seconds, uses, nick = options.nick } = params;
    const expires = now() + seconds * 1000;
    const token = await server.createToken({ expires, uses });
    gate.issue({ token, room, expires, uses }, now());
    await options.saveGrants(gate.grants);
    const link = encodeInvitation(device, { ...place, room, token, nick, expires, uses });
    return { id: tokenId(token), link, expires: new Date(expires).toISOString(), uses };
  };

  const withdraw = async (which: string): Promise<string> => {
    const grant = gate.revoke(which);
    if (!grant) throw unknownInvitation(which);
    await server.revokeToken(grant.token);
    await options.saveGrants(gate.grants);
    return tokenId(grant.token);
  };

  const nameOf = (key: string): string => {
    const known = circle.members.find((member) => member.device === key) ?? contacts.byDevice(key);
    return known?.nick ?? records.find((record) => record.device === key)?.nick ?? fingerprintOf(key);
  };

  const statusOf = ({ token, issued, expires, uses, revoked, devices }: Grant): InvitationStatus => ({
    id: tokenId(token),
    issued: new Date(issued).toISOString(),
    expires: new Date(expires).toISOString(),
    uses,
    revoked,
    usedBy: devices.map(nameOf),
  });

  /** Who goes by this name, account, fingerprint or key, with all devices of that account. Those who are here go first. */
  const find = (who: string): BanRecord[] => {
    const here = circle.members.filter((each) => goesBy(each, who));
    const meant = here.length > 0 ? here : contacts.list().filter((each) => goesBy(each, who));
    const accounts = new Set(meant.map(({ account }) => account));
    const known = [...contacts.list(), ...circle.members].filter(({ account }) => accounts.has(account));
    return unique([...known, ...meant].map(({ device: key, account, nick }) => ({ device: key, account, nick })));
  };

  const publish = async (next: readonly BanRecord[]): Promise<number> => {
    const epoch = circle.epoch + 1;
    const signed = signBans(device, { room, epoch, banned: next.map((record) => record.device) });
    await options.saveBans(signed, next); // first of all: a ban must outlive us
    records = [...next];
    await circle.adoptBans(signed);
    return epoch;
  };

  /** One list after the other: two made at once would have one number, and each would lack the names of the other. */
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = turn.then(work);
    turn = mine.catch(() => {});
    return mine;
  };

  const outcast = async (accounts: ReadonlySet<string>, out: boolean): Promise<void> => {
    for (const account of accounts) {
      await options.setOutcast(account, out).catch((error: unknown) => {
        // The list of bans holds without the server's help.
        log.warn('affiliation not changed', { account, reason: describeError(error) });
      });
    }
  };

  const ban: Desk['ban'] = async ({ who }) => {
    const found = find(who);
    if (found.some((record) => record.device === device.key)) throw ourselves();
    const fresh = found.filter(({ device: key }) => !records.some((record) => record.device === key));
    if (fresh.length === 0) throw nobody(who, records);
    if (new Set(fresh.map(({ account }) => account)).size > 1) throw several(who, fresh);
    if (records.length + fresh.length > MAX_BANNED) throw tooMany();
    const keys = new Set(fresh.map((record) => record.device));
    const epoch = await publish([...records, ...fresh]);
    await outcast(new Set(fresh.map(({ account }) => account)), true);
    const revoked: string[] = [];
    for (const { token, devices, revoked: already } of gate.grants)
      if (!already && devices.some((key) => keys.has(key))) revoked.push(await withdraw(token));
    log.warn('member banned', { who, epoch });
    return { banned: fresh.map(shown), epoch, revoked };
  };

  const unban: Desk['unban'] = async ({ who }) => {
    const found = records.filter((record) => goesBy(record, who));
    if (found.length === 0) throw notBanned(who, records);
    const epoch = await publish(records.filter((record) => !found.includes(record)));
    await outcast(new Set(found.map(({ account }) => account)), false);
    return { unbanned: found.map(shown), epoch };
  };

  return {
    invite,
    invitations: async () => ({ invitations: gate.grants.map(statusOf) }),
    revoke: async ({ which }) => ({
      id: await withdraw(which.startsWith('kith:') ? decodeInvitation(which).token : which),
    }),
    async admit(from, token) {
      const member = circle.member(from);
      if (!member) throw new TypeError(`${from} is not in the circle`); // its envelope would not have opened
      const { account, nick } = member;
      gate.admit({ token, room, device: member.device }, now());
      await options.saveGrants(gate.grants);
      if (member.device !== device.key) {
        const because = `by invitation ${tokenId(token)} of this device`;
        contacts.pin({ device: member.device, account, nick, pin: 'invited', because, by: device.key });
      }
      log.info('member admitted', { peer: nick, jid: from, invitation: tokenId(token) });
      const body = { room, device: member.device, account, since: now(), until: now() + CERTIFICATE_MS };
      return { certificate: signCertificate(device, body) };
    },
    ban: (params) => inTurn(() => ban(params)),
    unban: (params) => inTurn(() => unban(params)),
  };
}

/** Those on the list, with what is known of each; for one that another device of ours banned only the key is. */
export function recordsOf(signed: string | undefined, known: readonly BanRecord[]): BanRecord[] {
  if (signed === undefined) return [];
  return openBans(signed).banned.map(
    (key) =>
      known.find((record) => record.device === key) ?? { device: key, account: 'unknown', nick: fingerprintOf(key) },
  );
}

const goesBy = ({ device, account, nick }: BanRecord, who: string): boolean =>
  [device, fingerprintOf(device), account, nick].includes(who) || account.split('@')[0] === who;

const unique = (records: readonly BanRecord[]): BanRecord[] => [
  ...new Map(records.map((record) => [record.device, record])).values(),
];

const shown = ({ device, account, nick }: BanRecord): Banned => ({ nick, account, fingerprint: fingerprintOf(device) });

const unknownInvitation = (which: string) =>
  new KithError({
    code: 'invitation.unknown',
    message: which.startsWith('kith:') ? 'this link is not of this host' : `there is no invitation ${which}`,
    hint: 'kith invite --list shows those that were given out',
    retry: 'never',
  });

const ourselves = () =>
  new KithError({
    code: 'host.self',
    message: 'that is this very device, whose word makes the room',
    hint: 'end the room with Ctrl-C or kith down --peer host',
    retry: 'never',
  });

const nobody = (who: string, records: readonly BanRecord[]) =>
  records.some((record) => goesBy(record, who))
    ? new KithError({ code: 'host.banned-already', message: `${who} is banned already`, retry: 'never' })
    : new KithError({
        code: 'host.nobody',
        message: `nobody is known as ${who}`,
        hint: 'kith ps --peer host and kith contacts show nicks, accounts and fingerprints',
        retry: 'never',
      });

const several = (who: string, found: readonly BanRecord[]) =>
  new KithError({
    code: 'host.several',
    message: `several are known as ${who}: ${found.map(({ device, account }) => `${account} (${fingerprintOf(device)})`).join(', ')}`,
    hint: 'say which one by its account or fingerprint',
  });

const tooMany = () =>
  new KithError({
    code: 'host.too-many',
    message: `${MAX_BANNED} devices are banned, and a list holds no more`,
    hint: 'kith unban some, or open another room',
  });

const notBanned = (who: string, records: readonly BanRecord[]) =>
  new KithError({
    code: 'host.not-banned',
    message: `${who} is not banned`,
    hint: `banned are: ${records.map(({ nick }) => nick).join(', ') || 'nobody'}`,
    retry: 'never',
  });
