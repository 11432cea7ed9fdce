/** The circle of a room: whom we know there and why, and the envelopes that go between us. Nothing here believes the server. */
import { randomBytes } from 'node:crypto';
import { describeError, KithError } from '../base/errors.ts';
import { silentLog, type Log } from '../base/log.ts';
import type { Capacity } from '../protocol/capacity.ts';
import { createBoxKey, openBox, sealBox, type BoxKey } from './box.ts';
import { ENVELOPE_CHECKS, firstRefusal, HELLO_CHECKS, MAX_SKEW_MS, type Checks } from './checks.ts';
import type { EnvelopeFacts, HelloFacts } from './checks.ts';
import { CounterWindow } from './counters.ts';
import type { Contacts, Pin } from './contacts.ts';
import { fingerprintOf, type Device } from './device.ts';
import { boxInfo, idOf, readEnvelope, signEnvelope, type Envelope } from './envelope.ts';
import { readHello, signHello, type Hello } from './hello.ts';
import { notMember, openBans, openCertificate, openVouch } from './membership.ts';

/** `self`: another process of this very device. `stranger`: here without a certificate in a room that gives them. */
export type Trust = 'self' | Pin | 'stranger';

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

export interface CircleOptions {
  readonly device: Device;
  readonly contacts: Contacts;
  /** Bare JID. */
  readonly room: string;
  /** Our full JID; it may change when a session is lost. */
  readonly self: () => string;
  /** Key of whoever invites into this room: ours, or of the one who invited us. Undefined: nobody gives certificates here. */
  readonly inviter: string | undefined;
  readonly certificate: string | undefined;
  readonly vouch: string | undefined;
  /** The newest list of bans from the last time. */
  readonly bans: string | undefined;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  readonly log?: Log;
  /** Tests remove one check at a time, to see that the attack which it stands against succeeds. */
  readonly helloChecks?: Checks<HelloFacts>;
  readonly envelopeChecks?: Checks<EnvelopeFacts>;
}

export interface Opened {
  readonly purpose: string;
  readonly text: string;
  readonly id: string;
}

export interface CircleEvents {
  /** Somebody's standing changed without a new presence: approved, banned. */
  readonly onMember?: (jid: string, member: Member | undefined) => void;
  /** A newer list of bans: keep it, tell the room. `self`: we are on it. */
  readonly onBans?: (signed: string, banned: ReadonlySet<string>, self: boolean) => void;
}

export interface Circle {
  readonly fingerprint: string;
  readonly epoch: number;
  readonly certificate: string | undefined;
  /** Public half of the current box key. */
  readonly boxKey: BoxKey;
  /** What we say in our presence. */
  hello(capacity: Capacity): string;
  /** A presence of somebody else: who it is, or undefined when it is refused; then `refusal` says why. */
  meet(jid: string, nick: string, signed: string): Member | undefined;
  /** Left the room. */
  leave(jid: string): void;
  member(jid: string): Member | undefined;
  readonly members: readonly Member[];
  refusal(jid: string): string | undefined;
  /** Key that a refused peer came with. */
  refusedKey(jid: string): string | undefined;
  /** Throws `trust.unknown-peer`. */
  seal(
    to: string,
    purpose: string,
    text: string,
    re?: string,
  ): Promise<{ readonly signed: string; readonly id: string }>;
  /** Throws `trust.refused` with the reason. `re`: the id of the question that this should answer. */
  open(from: string, signed: string, re?: string): Promise<Opened>;
  certify(certificate: string): void;
  /** Pins changed: looks at everybody anew. */
  reconsider(): void;
  /** True: it was newer than what we had. */
  adoptBans(signed: string): Promise<boolean>;
  listen(events: CircleEvents): () => void;
}

interface Entry {
  member: Member | undefined;
  refusal: string | undefined;
  hello: Hello;
  nick: string;
  signed: string;
  /** Of the list of bans that it has shown to know. */
  epoch: number;
  readonly counters: Map<string, CounterWindow>;
  /** Newest last; the one before is taken for a while, because messages are under way. */
  sessions: { readonly session: string; readonly until: number }[];
  /** Answers and questions are opened in the order of their arrival. */
  opening: Promise<unknown>;
}

/** More in one room is an attack; each costs some kilobytes. */
const MAX_PEERS = 1000;
/** After a change of keys, messages for the old ones are taken this long: one full queue at a server's stock rate. */
const GRACE_MS = 60_000;

export async function openCircle(options: CircleOptions): Promise<Circle> {
  const { device, contacts, room, self, inviter, now = Date.now, log = silentLog } = options;
  const helloChecks = options.helloChecks ?? HELLO_CHECKS;
  const envelopeChecks = options.envelopeChecks ?? ENVELOPE_CHECKS;
  const entries = new Map<string, Entry>();
  const listeners = new Set<CircleEvents>();
  const own: { session: string; box: BoxKey; until: number }[] = [];
  let counter = 0;
  let certificate = options.certificate;
  let bansText: string | undefined;
  let epoch = 0;
  let banned: ReadonlySet<string> = new Set();

  const bare = (jid: string) => jid.split('/', 1)[0] ?? jid;
  const current = () => own.at(-1)!;

  const rotate = async () => {
    const fresh = { session: randomBytes(16).toString('base64url'), box: await createBoxKey(), until: Infinity };
    const last = own.at(-1);
    if (last) last.until = now() + GRACE_MS;
    own.push(fresh);
  };
  const ownSessions = () => {
    while (own.length > 1 && own[0]!.until < now()) own.shift();
    return own.map(({ session }) => session);
  };

  /** Is this device vouched for by one that we know, and whom? */
  const voucher = (hello: Hello): string | undefined => {
    if (hello.vouch === undefined) return undefined;
    try {
      const { device: vouched, by } = openVouch(hello.vouch);
      const known = contacts.byDevice(by);
      const strong = known !== undefined && (known.pin === 'verified' || known.pin === 'invited');
      return vouched === hello.device && strong && !banned.has(by) ? by : undefined;
    } catch {
      return undefined;
    }
  };

  const certified = (hello: Hello, account: string): string | undefined => {
    if (hello.certificate === undefined || inviter === undefined) return 'it has no certificate';
    try {
      const proof = openCertificate(hello.certificate);
      if (proof.by !== inviter) return 'its certificate is not from whoever invites into this room';
      return notMember(proof, { room, device: hello.device, account, now: now(), skewMs: MAX_SKEW_MS });
    } catch (error) {
      return describeError(error);
    }
  };

  /** How far we trust it, and what pins it. Called for those that passed all checks. */
  const standing = (hello: Hello, account: string, nick: string): Pick<Member, 'trust' | 'because'> => {
    if (hello.device === device.key) return { trust: 'self', because: 'the key of this device' };
    const by = voucher(hello);
    const why = certified(hello, account);
    const pin = (kind: Pin, because: string) =>
      contacts.pin({ device: hello.device, account, nick, pin: kind, because: because.slice(0, 200) });
    if (hello.device === inviter) pin('invited', 'it invited us into this room');
    else if (why === undefined)
      pin('invited', `certificate of ${inviter === device.key ? 'this device' : short(inviter ?? '')}`);
    else if (by !== undefined) pin('vouched', `by ${contacts.byDevice(by)?.nick ?? short(by)}`);
    else if (inviter === undefined) pin('first-sight', 'the first key under this account');
    const contact = contacts.byDevice(hello.device);
    if (contact) return { trust: contact.pin, because: contact.because };
    return { trust: 'stranger', because: why ?? 'nobody invited it' };
  };

  const judge = (jid: string, entry: Entry | undefined, signed: string, hello: Hello, nick: string): void => {
    const account = bare(jid);
    const others = contacts.byAccount(account).filter((contact) => contact.device !== hello.device);
    const refusal = firstRefusal(helloChecks, {
      signed,
      hello,
      jid,
      room,
      before: entry && {
        device: entry.hello.device,
        session: entry.hello.session,
        counter: entry.hello.counter,
      },
      banned: banned.has(hello.device),
      newKey:
        others.length > 0 &&
        hello.device !== device.key &&
        contacts.byDevice(hello.device) === undefined &&
        voucher(hello) === undefined,
    });
    const next: Entry = entry ?? {
      member: undefined,
      refusal: undefined,
      hello,
      nick,
      signed,
      epoch: 0,
      counters: new Map(),
      sessions: [],
      opening: Promise.resolve(),
    };
    if (refusal) {
      // What we believed stays: whoever forges a presence in somebody's name must not throw him out.
      if (entry?.member && refusal.check !== 'banned')
        return void log.warn('hello refused', { jid, reason: refusal.why });
      next.member = undefined;
      next.refusal = refusal.why;
      next.hello = hello;
      next.signed = signed;
      next.nick = nick;
      log.warn('peer refused', { jid, reason: refusal.why });
    } else {
      if (next.sessions.at(-1)?.session !== hello.session) {
        next.sessions = [
          ...next.sessions.slice(-1).map(({ session }) => ({ session, until: now() + GRACE_MS })),
          { session: hello.session, until: Infinity },
        ];
      }
      const { box, session, capacity } = hello;
      next.refusal = undefined;
      Object.assign(next, { hello, nick, signed, epoch: epochOf(hello) });
      const { trust, because } = standing(hello, account, nick);
      next.member = { jid, account, nick, device: hello.device, box, session, capacity, trust, because };
    }
    if (!entry && entries.size >= MAX_PEERS) return;
    entries.set(jid, next);
  };

  const lookAgain = () => {
    for (const [jid, entry] of entries) {
      const before = entry.member;
      judge(jid, entry, entry.signed, entry.hello, entry.nick);
      const after = entries.get(jid)?.member;
      if (before?.trust === after?.trust) continue;
      for (const { onMember } of listeners) onMember?.(jid, after);
    }
  };

  const adoptBans = async (signed: string): Promise<boolean> => {
    const list = openBans(signed);
    if (list.room !== room || list.by !== inviter || list.epoch <= epoch) return false;
    ({ epoch } = list);
    bansText = signed;
    banned = new Set(list.banned);
    for (const out of banned) contacts.unpin(out);
    await rotate(); // who was thrown out may still listen: nothing is sealed for keys of his time
    log.warn('list of bans', { epoch, banned: banned.size });
    lookAgain();
    for (const { onBans } of listeners) onBans?.(signed, banned, banned.has(device.key));
    return true;
  };

  const takeBans = async (signed: string | undefined, from: string): Promise<void> => {
    if (signed === undefined || signed === bansText) return;
    await adoptBans(signed).catch((error: unknown) =>
      log.warn('list of bans refused', { from, reason: describeError(error) }),
    );
  };

  const epochOf = (hello: Hello): number => {
    try {
      return hello.bans === undefined ? 0 : openBans(hello.bans).epoch;
    } catch {
      return 0;
    }
  };

  await rotate();
  if (options.bans !== undefined) await takeBans(options.bans, 'ourselves');

  const circle: Circle = {
    fingerprint: fingerprintOf(device.key),
    get epoch() {
      return epoch;
    },
    get certificate() {
      return certificate;
    },
    get boxKey() {
      return current().box;
    },
    hello(capacity) {
      const { session, box } = current();
      return signHello(device, {
        room,
        jid: self(),
        device: device.key,
        box: box.key,
        session,
        counter: ++counter,
        capacity,
        ...(certificate === undefined ? {} : { certificate }),
        ...(options.vouch === undefined ? {} : { vouch: options.vouch }),
        ...(bansText === undefined ? {} : { bans: bansText }),
      });
    },
    meet(jid, nick, signed) {
      try {
        const hello = readHello(signed);
        judge(jid, entries.get(jid), signed, hello, nick);
        void takeBans(hello.bans, jid);
      } catch (error) {
        log.warn('hello refused', { jid, reason: describeError(error) });
      }
      return entries.get(jid)?.member;
    },
    leave: (jid) => void entries.delete(jid),
    member: (jid) => entries.get(jid)?.member,
    get members() {
      return [...entries.values()].flatMap(({ member }) => (member ? [member] : []));
    },
    refusal: (jid) => entries.get(jid)?.refusal,
    refusedKey: (jid) => (entries.get(jid)?.refusal === undefined ? undefined : entries.get(jid)?.hello.device),
    async seal(to, purpose, text, re) {
      const entry = entries.get(to);
      if (!entry?.member) throw unknown(to, entry?.refusal);
      const { session } = current();
      const head = {
        room,
        from: self(),
        fromSession: session,
        to,
        toSession: entry.member.session,
        purpose,
        time: now(),
        counter: ++counter,
        ...(re === undefined ? {} : { re }),
        ...(bansText !== undefined && entry.epoch < epoch ? { bans: bansText } : {}),
      };
      const sealed = await sealBox(entry.member.box, boxInfo(head, device.key), text);
      const signed = signEnvelope(device, { ...head, ...sealed });
      return { signed, id: idOf(signed) };
    },
    async open(from, signed, re) {
      const first = entries.get(from);
      if (!first?.member) throw unknown(from, first?.refusal);
      const envelope = readEnvelope(signed);
      // Signed by whoever threw somebody out, so it may be believed before the rest is.
      if (envelope.bans !== undefined) await takeBans(envelope.bans, from);
      const entry = entries.get(from);
      if (!entry?.member) throw unknown(from, entry?.refusal);
      const window = windowOf(entry, envelope.fromSession);
      const refusal = firstRefusal(envelopeChecks, {
        signed,
        envelope,
        from,
        room,
        self: { jid: self(), sessions: ownSessions() },
        sender: {
          device: entry.member.device,
          sessions: entry.sessions.filter(({ until }) => until >= now()).map(({ session }) => session),
        },
        banned: banned.has(entry.member.device),
        now: now(),
        re,
        freshCounter: window.fresh(envelope.counter),
      });
      if (refusal) throw refused(from, refusal.why);
      window.take(envelope.counter);
      const { device: sender } = entry.member;
      const opened = entry.opening.then(() => unseal(envelope, sender));
      entry.opening = opened.catch(() => {});
      return { purpose: envelope.purpose, text: await opened, id: idOf(signed) };
    },
    certify(signed) {
      certificate = signed;
    },
    reconsider: lookAgain,
    adoptBans,
    listen(events) {
      listeners.add(events);
      return () => listeners.delete(events);
    },
  };

  async function unseal(envelope: Envelope, sender: string): Promise<string> {
    const keys = own.find(({ session }) => session === envelope.toSession) ?? current();
    try {
      return await openBox(keys.box, boxInfo(envelope, sender), envelope);
    } catch {
      throw refused(envelope.from, 'it was not sealed for us, or was changed');
    }
  }

  // A moment of the clock is all that keeps old windows; the counters of a dead session are refused by `senderSession`.
  function windowOf(entry: Entry, session: string): CounterWindow {
    const known = entry.counters.get(session);
    if (known) return known;
    const fresh = new CounterWindow();
    if (!entry.sessions.some((each) => each.session === session)) return fresh;
    entry.counters.set(session, fresh);
    for (const old of entry.counters.keys())
      if (!entry.sessions.some((each) => each.session === old)) entry.counters.delete(old);
    return fresh;
  }

  return circle;
}

const short = (key: string): string => fingerprintOf(key).slice(0, 9);

const refused = (from: string, why: string) =>
  new KithError({ code: 'trust.refused', message: `a message of ${from} is refused: ${why}`, retry: 'never' });

const unknown = (jid: string, refusal: string | undefined) =>
  new KithError({
    code: 'trust.unknown-peer',
    message: refusal === undefined ? `${jid} has not shown who it is` : `${jid} is refused: ${refusal}`,
    hint: refusal === undefined ? 'is it in the room?' : 'kith verify shows both keys and lets you approve a new one',
    retry: 'later',
  });
