/** The group chat of friends (XEP-0045): who is there with what, who lives, and our own seat in it, kept over cuts. */
import { systemClock, type Clock } from '../base/clock.ts';
import { describeError, KithError } from '../base/errors.ts';
import { shortId } from '../base/ids.ts';
import { silentLog, type Log } from '../base/log.ts';
import type { Capacity } from '../protocol/capacity.ts';
import { HEARTBEAT_MS } from '../protocol/limits.ts';
import type { Heartbeat } from '../protocol/messages.ts';
import { configureRoom, destroyRoom, roomFeatures, setAffiliation, type CreateOptions } from './room-config.ts';
import { entryError, expulsion, nickTaken, noService, unknownRoom } from './room-errors.ts';
import { Refused } from './requests.ts';
import { Roster, type Occupant, type RoomEvent } from './roster.ts';
import type { Session } from './session.ts';
import { KITH_NS } from '../protocol/namespaces.ts';
import { bareJid, domainOf, HINTS_NS, kithElement, MUC_NS, resourceOf, xml, type Element } from './xml.ts';

export type { CreateOptions, Occupant, RoomEvent };

/** How peers say who they are. The room only carries it: the server that runs the room is believed nothing. */
export interface Introductions {
  /** ASCII text for our presence. */
  hello(capacity: Capacity): string;
  /** Somebody else's text. Undefined: refused, he is there without a capacity. */
  meet(jid: string, nick: string, text: string): { readonly capacity: Capacity } | undefined;
  leave(jid: string): void;
}

export interface RoomOptions {
  readonly session: Session;
  readonly introductions: Introductions;
  /** Bare JID. */
  readonly room: string;
  readonly nick: string;
  readonly capacity: Capacity;
  /** Make the room if it is not there. Undefined: then fail with `xmpp.unknown-room`. */
  readonly create: CreateOptions | undefined;
  readonly log?: Log;
  readonly clock?: Clock;
  /** Ends the joining; a joined room ends by disposal. */
  readonly signal?: AbortSignal;
}

export interface Room extends AsyncDisposable {
  readonly jid: string;
  /** Ours, with a suffix if the one we asked for was taken. */
  readonly nick: string;
  /** Our full JID. */
  readonly self: string;
  /** True if the room was not there before us. */
  readonly created: boolean;
  /** The others. */
  occupants(): readonly Occupant[];
  onChange(handler: (event: RoomEvent) => void): () => void;
  /** Says anew who we are, and what we have if that changed. */
  announce(capacity?: Capacity): void;
  /** He is trusted otherwise than a moment ago. */
  recognise(jid: string, capacity: Capacity | undefined): void;
  /** Owner only: lets an account (bare JID) into a members-only room. */
  admit(account: string): Promise<void>;
  /** Resolves with the reason when we are out for good, with undefined after disposal. */
  readonly closed: Promise<KithError | undefined>;
}

const JOIN_MS = 20_000;
const LEAVE_MS = 1000;
/** `anna`, `anna-2`, `anna-3`, then a random suffix twice. */
const NICK_TRIES = 5;
const REJOIN_PAUSE_MS = 2000;
const REJOIN_GIVE_UP_MS = 120_000;
const HELLO_BYTES = 32_768;

interface Entry {
  readonly created: boolean;
  /** Status 100: everybody sees real JIDs. */
  readonly open: boolean;
}

export async function joinRoom(options: RoomOptions): Promise<Room> {
  const { session, room, create, introductions, clock = systemClock, log = silentLog, signal } = options;
  const roster = new Roster();
  const handlers = new Set<(event: RoomEvent) => void>();
  const closed = Promise.withResolvers<KithError | undefined>();
  let capacity = options.capacity;
  let nick = options.nick;
  let inside = false;
  let over = false;
  let entering: { settle: (outcome: Entry | Error) => void } | undefined;
  let rejoining = false;
  let left = () => {};

  const address = () => `${room}/${nick}`;
  const hello = () => xml('kith', { xmlns: KITH_NS }, introductions.hello(capacity));
  const control = (stanza: Element) => session.send(stanza, { priority: 'control' });
  const emit = (events: readonly RoomEvent[]) => {
    for (const event of events) {
      log.info(`peer ${event.kind}`, { room, peer: event.occupant.nick, jid: event.occupant.jid });
      if (event.kind === 'left') introductions.leave(event.occupant.jid);
      for (const handler of handlers) {
        try {
          handler(event);
        } catch (error) {
          log.warn('room handler failed', { room, reason: describeError(error) });
        }
      }
    }
  };

  /** Sends our presence and waits for the room to name us (status 110) or to refuse. */
  function knock(): Promise<Entry> {
    const { promise, resolve, reject } = Promise.withResolvers<Entry>();
    const cancel = clock.after(JOIN_MS, () => settle(noService(room, 'no answer')));
    const abort = () => settle(signal?.reason as Error);
    const settle = (outcome: Entry | Error) => {
      cancel();
      signal?.removeEventListener('abort', abort);
      if (entering?.settle === settle) entering = undefined;
      if (outcome instanceof Error) reject(outcome);
      else resolve(outcome);
    };
    entering = { settle };
    if (!over) signal?.addEventListener('abort', abort);
    const history = xml('history', { maxstanzas: '0' });
    control(xml('presence', { to: address() }, xml('x', { xmlns: MUC_NS }, history), hello()));
    return promise;
  }

  /** In, under the first free nick; a new room is configured before this returns. */
  async function enter(): Promise<Entry> {
    for (let attempt = 1; ; attempt++) {
      if (attempt > 1) nick = `${options.nick}-${attempt > NICK_TRIES - 2 ? shortId() : attempt}`;
      try {
        const entry = await knock();
        await settleIn(entry);
        return entry;
      } catch (error) {
        if (!(error instanceof KithError && error.code === 'xmpp.nick-taken') || attempt === NICK_TRIES) throw error;
      }
    }
  }

  async function settleIn(entry: Entry): Promise<void> {
    try {
      if (entry.created) {
        if (!create) throw unknownRoom(room);
        await configureRoom(session, room, create, signal);
      } else if (!entry.open && !(await roomFeatures(session, room, signal)).has('muc_nonanonymous')) {
        throw new KithError({
          code: 'xmpp.room-anonymous',
          message: `the room ${room} hides who is in it, so peers cannot reach each other`,
          hint: 'ask its owner to make it non-anonymous',
        });
      }
    } catch (error) {
      if (entry.created && create) await destroyRoom(session, room).catch(() => {});
      control(xml('presence', { to: address(), type: 'unavailable' }));
      throw error;
    }
    inside = true;
  }

  function onPresence(stanza: Element, who: string): void {
    if (stanza.attrs['type'] === 'error') {
      // Without a request of ours under way it says that our presence in the room is gone.
      if (entering) entering.settle(entryError(stanza, room, nick));
      else if (inside) rejoin('the room refused our presence');
      return;
    }
    const user = stanza.getChild('x', `${MUC_NS}#user`);
    const item = user?.getChild('item');
    const statuses = user?.getChildren('status').map((status) => String(status.attrs['code'])) ?? [];
    const jid = item?.attrs['jid'] as string | undefined;
    const mine = statuses.includes('110') || jid === session.jid;
    const gone = stanza.attrs['type'] === 'unavailable';
    if (mine && gone) return onOut(statuses, user?.getChild('destroy') !== undefined);
    if (mine) {
      // A ghost of ours has this nickname: the room would show its presence, and never ours (XEP-0045 7.2.3).
      if (entering && user?.getChildren('item').some(({ attrs }) => (attrs['jid'] ?? session.jid) !== session.jid)) {
        control(xml('presence', { to: `${room}/${who}`, type: 'unavailable' }));
        return entering.settle(nickTaken(room, who));
      }
      if (who !== nick && !entering) nick = who;
      return entering?.settle({ created: statuses.includes('201'), open: statuses.includes('100') });
    }
    // 303: he comes back at once under another nick.
    if (gone) return statuses.includes('303') ? undefined : emit(roster.left(who, jid));
    if (!jid || jid.length > 1024 || stanza.attrs['type'] !== undefined) return;
    const text = stanza.getChild('kith', KITH_NS)?.getText() ?? '';
    const known = text !== '' && text.length <= HELLO_BYTES ? introductions.meet(jid, who, text) : undefined;
    emit(roster.present({ jid, nick: who, capacity: known?.capacity }, clock.now()));
  }

  function onOut(statuses: readonly string[], destroyed: boolean): void {
    left();
    if (over || !inside || statuses.includes('303')) return;
    const reason = expulsion(statuses, destroyed, room);
    if (reason) finish(reason);
    else rejoin('the room dropped us');
  }

  function onStanza(stanza: Element): boolean {
    const from = String(stanza.attrs['from'] ?? '');
    if (bareJid(from) !== room) {
      if (from !== '' && stanza.attrs['type'] !== 'error') emit(roster.seen(from, clock.now()));
      return false;
    }
    if (stanza.name === 'presence') onPresence(stanza, resourceOf(from));
    else if (stanza.name === 'message' && stanza.attrs['type'] === 'error') {
      // Our heartbeat came back: the room does not know us any more (cheaper than self-pings, XEP-0410).
      if (inside) rejoin('the room refused our heartbeat');
    } else if (stanza.name === 'message') emit(roster.seenNick(resourceOf(from), clock.now()));
    return stanza.name !== 'iq';
  }

  /** Takes our seat again, patiently: after a restart of the server its rooms come back one by one. */
  function rejoin(why: string): void {
    if (over) return;
    inside = false;
    entering?.settle(new KithError({ code: 'xmpp.superseded', message: 'joining starts anew', retry: 'later' }));
    if (rejoining) return;
    rejoining = true;
    log.info('rejoining room', { room, reason: why });
    const since = clock.now();
    void (async () => {
      try {
        while (!over && !inside) {
          roster.doubt(clock.now());
          try {
            await enter();
          } catch (error) {
            if (over) return;
            const code = error instanceof KithError ? error.code : '';
            const patient = [
              'xmpp.unknown-room',
              'xmpp.no-such-room',
              'xmpp.superseded',
              'xmpp.nick-taken',
              'xmpp.timeout',
            ].includes(code);
            if (!patient || clock.now() - since >= REJOIN_GIVE_UP_MS) return finish(asKith(error));
            if (code !== 'xmpp.superseded') await new Promise<void>((resolve) => clock.after(REJOIN_PAUSE_MS, resolve));
          }
        }
        if (!over) log.info('room rejoined', { room, nick });
      } finally {
        rejoining = false;
      }
    })();
  }

  function finish(reason: KithError | undefined): void {
    if (over) return;
    over = true;
    inside = false;
    for (const end of undo) end();
    entering?.settle(reason ?? new KithError({ code: 'xmpp.room-left', message: `we left ${room}`, retry: 'never' }));
    if (reason) log.warn('room lost', { room, code: reason.code, reason: reason.message });
    closed.resolve(reason);
  }

  const undo = [
    session.onStanza(onStanza),
    session.onFresh(() => rejoin('new session')),
    session.onOnline(() => roster.forgive(clock.now())),
    clock.every(1000, () => {
      if (session.state === 'online') emit(roster.sweep(clock.now()));
    }),
    clock.every(HEARTBEAT_MS, () => {
      if (!inside || session.state !== 'online') return;
      const beat = kithElement({ kind: 'heartbeat', at: Date.now() } satisfies Heartbeat);
      control(xml('message', { type: 'groupchat', to: room }, beat, xml('no-store', { xmlns: HINTS_NS })));
    }),
  ];
  void session.closed.then((reason) => finish(reason));

  let entry: Entry;
  try {
    signal?.throwIfAborted();
    await checkService(session, room, signal);
    entry = await enter();
  } catch (error) {
    finish(asKith(error));
    throw error;
  }
  log.info('room joined', { room, nick, created: entry.created });
  return {
    jid: room,
    get nick() {
      return nick;
    },
    self: session.jid,
    created: entry.created,
    occupants: () => roster.occupants(),
    onChange(handler) {
      handlers.add(handler);
      return () => handlers.delete(handler);
    },
    announce(next = capacity) {
      capacity = next;
      if (inside) control(xml('presence', { to: address() }, hello()));
    },
    recognise(jid, now) {
      const known = roster.occupants().find((occupant) => occupant.jid === jid);
      if (known) emit(roster.present({ jid, nick: known.nick, capacity: now }, clock.now()));
    },
    admit: (account) => setAffiliation(session, room, account, 'member'),
    closed: closed.promise,
    async [Symbol.asyncDispose]() {
      if (inside && session.state === 'online') {
        inside = false;
        over = true;
        const gone = new Promise<void>((resolve) => {
          left = resolve;
          clock.after(LEAVE_MS, resolve);
        });
        control(xml('presence', { to: address(), type: 'unavailable' }));
        await Promise.race([gone, session.closed]);
        over = false;
      }
      finish(undefined);
    },
  };
}

/** A wrong service is told at once; presence to it would be swallowed, or answered as if only the room were missing. */
async function checkService(session: Session, room: string, signal?: AbortSignal): Promise<void> {
  const features = await roomFeatures(session, domainOf(room), signal).catch((error: unknown) => {
    throw error instanceof Refused ? noService(room, error.code.replace('xmpp.', '')) : error;
  });
  if (!features.has(MUC_NS)) throw noService(room, 'it is something else');
}

const asKith = (error: unknown): KithError =>
  error instanceof KithError
    ? error
    : new KithError({ code: 'xmpp.room', message: describeError(error), cause: error });
