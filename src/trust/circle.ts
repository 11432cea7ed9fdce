/** The circle of a room: whom we know there and why, and the envelopes that go between us. Nothing here believes the server. */
import { describeError } from '../base/errors.ts';
import { silentLog, type Log } from '../base/log.ts';
import type { Capacity } from '../protocol/capacity.ts';
import { openBox, sealBox, type BoxKey } from './box.ts';
import { ENVELOPE_CHECKS, firstRefusal, HELLO_CHECKS, type Checks } from './checks.ts';
import type { EnvelopeFacts, HelloFacts } from './checks.ts';
import type { Contacts } from './contacts.ts';
import { fingerprintOf, type Device } from './device.ts';
import { boxInfo, idOf, readEnvelope, signEnvelope, type Envelope } from './envelope.ts';
import { readHello, signHello, type Hello } from './hello.ts';
import { createHistories } from './history.ts';
import { epochIn, openBans, readBans } from './membership.ts';
import { openOwnKeys } from './own-keys.ts';
import { refused, unknown } from './refusals.ts';
import { openPapers, type Member } from './standing.ts';

export type { Member };

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

export interface CircleEvents {
  /** Somebody's standing changed without a new presence: approved, banned, certificate over. */
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
  open(
    from: string,
    signed: string,
    re?: string,
  ): Promise<{ readonly purpose: string; readonly text: string; readonly id: string }>;
  certify(certificate: string): void;
  /** Pins changed: looks at everybody anew. */
  reconsider(): void;
  /** True: it was newer than what we had. */
  adoptBans(signed: string): Promise<boolean>;
  listen(events: CircleEvents): () => void;
}

/** Whoever shows itself in the room. */
interface Entry {
  member: Member | undefined;
  refusal: string | undefined;
  /** It has signed a hello, and was refused for who it is. */
  refusedKey: string | undefined;
  hello: Hello;
  nick: string;
  signed: string;
  /** Of the list of bans that it has shown to know. */
  epoch: number;
  /** When its certificate is over, and it has to be looked at anew. */
  until: number;
  /** Answers and questions are opened in the order of their arrival. */
  opening: Promise<unknown>;
}

/** More in one room is an attack; each may cost 20 KB. */
const MAX_PEERS = 500;
/** After a change of keys, messages for the old ones are taken this long: one full queue at a server's stock rate. */
const GRACE_MS = 60_000;

export async function openCircle(options: CircleOptions): Promise<Circle> {
  const { device, contacts, room, self, inviter, now = Date.now, log = silentLog } = options;
  const { helloChecks = HELLO_CHECKS, envelopeChecks = ENVELOPE_CHECKS } = options;
  const entries = new Map<string, Entry>();
  const histories = createHistories((jid) => entries.has(jid));
  const listeners = new Set<CircleEvents>();
  const own = await openOwnKeys({ now, graceMs: GRACE_MS });
  let counter = 0;
  let certificate = options.certificate;
  let bansText: string | undefined;
  let epoch = 0;
  let banned: ReadonlySet<string> = new Set();
  const isBanned = (key: string) => banned.has(key);
  const papers = openPapers({ device: device.key, contacts, room, inviter, isBanned, now });

  const bare = (jid: string) => jid.split('/', 1)[0] ?? jid;

  const judge = (jid: string, entry: Entry | undefined, signed: string, hello: Hello, nick: string): void => {
    const account = bare(jid);
    const others = contacts.byAccount(account).filter((contact) => contact.device !== hello.device);
    const known = histories.find(jid, entry?.member?.device ?? hello.device);
    const refusal = firstRefusal(helloChecks, {
      signed,
      hello,
      jid,
      room,
      before: known,
      over: known?.isOver(hello.session) ?? false,
      banned: banned.has(hello.device),
      newKey:
        others.length > 0 &&
        hello.device !== device.key &&
        contacts.of(hello.device, account) === undefined &&
        papers.voucher(hello, account) === undefined,
    });
    const presence = { hello, nick, signed };
    if (refusal) {
      // What we believed stays: whoever forges a presence in somebody's name must not throw him out.
      const stays = entry?.member !== undefined && entry.signed !== signed && refusal.check !== 'banned';
      if (stays || entry?.refusal !== refusal.why) log.warn('hello refused', { jid, reason: refusal.why });
      if (stays) return;
      // Of those only it is known that they have signed it.
      const refusedKey = ['newKey', 'banned'].includes(refusal.check) ? hello.device : undefined;
      const nobody = { member: undefined, refusal: refusal.why, refusedKey, epoch: 0, until: Infinity };
      return keep(jid, entry, { ...presence, ...nobody });
    }
    const { box, session, capacity } = hello;
    const { trust, because, until } = papers.standing(hello, account, nick);
    const member = { jid, account, nick, device: hello.device, box, session, capacity, trust, because };
    const knows = epochIn(hello.bans, room, inviter);
    keep(jid, entry, { ...presence, member, refusal: undefined, refusedKey: undefined, epoch: knows, until });
    histories.open(jid, hello.device).said(session, hello.counter, now() + GRACE_MS);
  };

  /** Strangers make room for members, and nobody for strangers. */
  const keep = (jid: string, entry: Entry | undefined, next: Omit<Entry, 'opening'>): void => {
    if (entry) return void Object.assign(entry, next);
    if (entries.size >= MAX_PEERS) {
      const isOutside = ({ member }: Pick<Entry, 'member'>) => (member?.trust ?? 'stranger') === 'stranger';
      const [outsider] = [...entries].find(([, other]) => isOutside(other)) ?? [];
      if (outsider === undefined || isOutside(next)) return;
      entries.delete(outsider);
    }
    entries.set(jid, { ...next, opening: Promise.resolve() });
  };

  /** What was true when it came may be true no more. */
  const lookAgain = (jid: string, entry: Entry): void => {
    const before = entry.member;
    judge(jid, entry, entry.signed, entry.hello, entry.nick);
    const after = entry.member;
    if (before?.trust !== after?.trust) tell(({ onMember }) => onMember?.(jid, after));
  };

  const reconsider = (): void => {
    for (const [jid, entry] of entries) lookAgain(jid, entry);
  };

  const tell = (say: (events: CircleEvents) => void): void => {
    for (const events of listeners) {
      try {
        say(events);
      } catch (error) {
        log.error('circle listener failed', { reason: describeError(error) });
      }
    }
  };

  const adoptBans = async (signed: string): Promise<boolean> => {
    const list = readBans(signed);
    if (list.room !== room || list.by !== inviter || list.epoch <= epoch) return false;
    openBans(signed);
    ({ epoch } = list);
    bansText = signed;
    banned = new Set(list.banned);
    for (const key of papers.fallen()) contacts.unpin(key);
    log.warn('list of bans', { epoch, banned: banned.size });
    reconsider();
    await own.rotate(); // who was thrown out may still listen: nothing is sealed for keys of his time
    if (bansText === signed) tell(({ onBans }) => onBans?.(signed, banned, banned.has(device.key)));
    return true;
  };

  const takeBans = async (signed: string | undefined, from: string): Promise<void> => {
    if (signed === undefined || signed === bansText || inviter === undefined) return;
    await adoptBans(signed).catch((error: unknown) =>
      log.warn('list of bans refused', { from, reason: describeError(error) }),
    );
  };

  // Fails closed: without its list of bans this home would let everybody in again.
  if (options.bans !== undefined) await adoptBans(options.bans);

  const circle: Circle = {
    fingerprint: fingerprintOf(device.key),
    get epoch() {
      return epoch;
    },
    get certificate() {
      return certificate;
    },
    get boxKey() {
      return own.current.box;
    },
    hello(capacity) {
      const { session, box } = own.current;
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
    leave(jid) {
      histories.find(jid, entries.get(jid)?.member?.device ?? '')?.left();
      entries.delete(jid);
    },
    member: (jid) => entries.get(jid)?.member,
    get members() {
      return [...entries.values()].flatMap(({ member }) => (member ? [member] : []));
    },
    refusal: (jid) => entries.get(jid)?.refusal,
    refusedKey: (jid) => entries.get(jid)?.refusedKey,
    async seal(to, purpose, text, re) {
      const entry = entries.get(to);
      if (entry && entry.until < now()) lookAgain(to, entry);
      if (!entry?.member) throw unknown(to, entry?.refusal);
      const { session } = own.current;
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
      if (entry && entry.until < now()) lookAgain(from, entry);
      if (!entry?.member) throw unknown(from, entry?.refusal);
      const { device: sender } = entry.member;
      const history = histories.open(entry.member.jid, sender);
      const window = history.window(envelope.fromSession);
      const refusal = firstRefusal(envelopeChecks, {
        signed,
        envelope,
        from,
        room,
        self: { jid: self(), sessions: own.sessions() },
        sender: {
          device: sender,
          sessions: history.sessions.filter(({ until }) => until >= now()).map(({ session }) => session),
        },
        banned: banned.has(entry.member.device),
        now: now(),
        re,
        freshCounter: window.fresh(envelope.counter) && envelope.time > window.floor,
      });
      if (refusal) throw refused(from, refusal.why);
      window.take(envelope.counter);
      history.took(envelope.time);
      const opened = entry.opening.then(() => unseal(envelope, sender));
      entry.opening = opened.catch(() => {});
      const before = epoch;
      const text = await opened;
      if (epoch !== before && banned.has(sender)) throw refused(from, 'its sender was banned while it was opened');
      return { purpose: envelope.purpose, text, id: idOf(signed) };
    },
    certify(signed) {
      certificate = signed;
    },
    reconsider,
    adoptBans,
    listen(events) {
      listeners.add(events);
      return () => listeners.delete(events);
    },
  };

  async function unseal(envelope: Envelope, sender: string): Promise<string> {
    const keys = own.find(envelope.toSession) ?? own.current;
    try {
      return await openBox(keys.box, boxInfo(envelope, sender), envelope);
    } catch {
      throw refused(envelope.from, 'it was not sealed for us, or was changed');
    }
  }

  return circle;
}
