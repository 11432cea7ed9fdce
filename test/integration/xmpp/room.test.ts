/** A room of three friends on a real server: joining, telling, living, dying, leaving, and what strangers may not do. */
import { xml } from '@xmpp/client';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { joinRoom, type Room, type RoomEvent, type RoomOptions } from '../../../src/xmpp/room.ts';
import { roomFeatures } from '../../../src/xmpp/room-config.ts';
import type { Session } from '../../../src/xmpp/session.ts';
import { startTestServer, type TestServer } from '../../harness/prosody.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';
import { capacityOf, codeOf, settle, soon } from '../../harness/xmpp.ts';
import { plainIntroductions } from '../../harness/plain-trust.ts';

let prosody: TestServer;
beforeAll(async () => {
  prosody = await startTestServer();
});
afterAll(() => prosody[Symbol.asyncDispose]());

let rooms = 0;
const newName = () => `room-${++rooms}@${prosody.server.mucService}`;
const join = (session: Session, room: string, nick: string, more: Partial<RoomOptions> = {}) =>
  joinRoom({ introductions: plainIntroductions, session, room, nick, capacity: capacityOf(), create: {}, ...more });
const follow = (room: Room): string[] => {
  const events: string[] = [];
  room.onChange((event: RoomEvent) => events.push(`${event.occupant.nick} ${event.kind}`));
  return events;
};
const nicks = (room: Room) =>
  room
    .occupants()
    .map((occupant) => occupant.nick)
    .toSorted();

describe('joining', () => {
  test('three friends see each other with real addresses and capacity, its changes, and who leaves', async () => {
    const name = newName();
    await using anna = await prosody.open('anna');
    await using ben = await prosody.open('ben');
    await using cleo = await prosody.open('cleo');
    await using a = await join(anna, name, 'anna');
    const events = follow(a);
    await using b = await join(ben, name, 'ben', { create: undefined });
    const c = await join(cleo, name, 'cleo', {
      create: undefined,
      capacity: capacityOf({ cpus: 8, role: 'initiator' }),
    });
    expect([a.created, b.created, c.created]).toEqual([true, false, false]);
    expect(nicks(c)).toEqual(['anna', 'ben']);
    await vi.waitFor(() => expect(nicks(a)).toEqual(['ben', 'cleo']), soon);
    const seen = () => a.occupants().find((occupant) => occupant.nick === 'cleo');
    expect(seen()).toMatchObject({ jid: cleo.jid, capacity: { cpus: 8, role: 'initiator' }, alive: true });
    c.announce(capacityOf({ cpus: 8, role: 'initiator', guests: 1 }));
    await vi.waitFor(() => expect(seen()?.capacity?.guests).toBe(1), soon);
    await c[Symbol.asyncDispose]();
    expect(await c.closed).toBeUndefined();
    await vi.waitFor(() => expect(events).toEqual(['ben joined', 'cleo joined', 'cleo capacity', 'cleo left']), soon);
    expect(nicks(b)).toEqual(['anna']);
  });

  test('a new room is non-anonymous, not moderated, hidden; members only and persistent if asked', async () => {
    await using session = await prosody.open('anna');
    const [plain, closed] = [newName(), newName()];
    await using _a = await join(session, plain, 'anna');
    await using _b = await join(session, closed, 'anna', { create: { membersOnly: true, persistent: true } });
    const features = async (room: string) => [...(await roomFeatures(session, room))];
    expect(await features(plain)).toEqual(
      expect.arrayContaining(['muc_nonanonymous', 'muc_unmoderated', 'muc_hidden', 'muc_open', 'muc_temporary']),
    );
    expect(await features(closed)).toEqual(
      expect.arrayContaining(['muc_nonanonymous', 'muc_membersonly', 'muc_persistent']),
    );
  });

  test('a taken nick gets a suffix', async () => {
    const name = newName();
    await using anna = await prosody.open('anna');
    await using ben = await prosody.open('ben');
    await using cleo = await prosody.open('cleo');
    await using a = await join(anna, name, 'pc');
    await using b = await join(ben, name, 'pc');
    await using c = await join(cleo, name, 'pc');
    expect([a.nick, b.nick, c.nick]).toEqual(['pc', 'pc-2', 'pc-3']);
    expect(nicks(c)).toEqual(['pc', 'pc-2']);
  });

  test('unknown room, unknown service, something that is no service: told at once, nothing left behind', async () => {
    await using session = await prosody.open('anna');
    const { domain, mucService } = prosody.server;
    const attempt = (room: string) => codeOf(join(session, room, 'anna', { create: undefined }));
    expect(await attempt(`nobody-here@${mucService}`)).toBe('xmpp.unknown-room');
    expect(await attempt('room@nowhere.example')).toBe('xmpp.no-such-room');
    expect(await attempt(`room@${domain}`)).toBe('xmpp.no-such-room');
    expect(await codeOf(roomFeatures(session, `nobody-here@${mucService}`))).toBe('xmpp.item-not-found');
    expect(await codeOf(join(session, newName(), 'anna', { signal: AbortSignal.abort(new Error('stop')) }))).toBe(
      'Error: stop',
    );
  });

  test('a members-only room lets in whom its owner admitted, and nobody else', async () => {
    const name = newName();
    await using anna = await prosody.open('anna');
    await using ben = await prosody.open('ben');
    await using owner = await join(anna, name, 'anna', { create: { membersOnly: true } });
    expect(await codeOf(join(ben, name, 'ben'))).toBe('xmpp.not-a-member');
    await owner.admit(`ben@${prosody.server.domain}`);
    await using room = await join(ben, name, 'ben');
    expect(nicks(room)).toEqual(['anna']);
  });
});

describe('living', () => {
  test('heartbeats keep friends alive; who is silent for 30 s is dead, and revives with any sign', async () => {
    const name = newName();
    const clock = virtualClock();
    const frozen = virtualClock();
    await using anna = await prosody.open('anna');
    await using ben = await prosody.open('ben');
    await using cleo = await prosody.open('cleo');
    await using a = await join(anna, name, 'anna', { clock });
    await using b = await join(ben, name, 'ben', { clock });
    await using c = await join(cleo, name, 'cleo', { clock: frozen });
    await settle(anna, ben, cleo);
    const events = follow(a);
    for (let beat = 0; beat < 5; beat++) {
      clock.advance(10_000);
      await settle(anna, ben, cleo);
    }
    expect(events).toEqual(['cleo dead']);
    expect(a.occupants().map(({ nick, alive }) => [nick, alive])).toEqual([
      ['ben', true],
      ['cleo', false],
    ]);
    expect(nicks(b)).toEqual(['anna', 'cleo']);
    frozen.advance(10_000);
    await settle(cleo, anna);
    expect(events).toEqual(['cleo dead', 'cleo revived']);
    expect(c.occupants().every((occupant) => occupant.alive)).toBe(true);
  });

  test('nobody dies because we were cut off ourselves', async () => {
    const name = newName();
    const clock = virtualClock();
    await using anna = await prosody.open('anna');
    await using ben = await prosody.open('ben');
    let state: Session['state'] = 'online';
    const cut = Object.create(anna, { state: { get: () => state } }) as Session;
    await using a = await join(cut, name, 'anna', { clock });
    await using _b = await join(ben, name, 'ben');
    await settle(anna, ben);
    const events = follow(a);
    state = 'reconnecting';
    clock.advance(100_000);
    expect(events).toEqual([]);
    state = 'online';
    clock.advance(1000);
    expect(events).toEqual(['ben dead']);
  });
});

describe('losing the seat', () => {
  const admin = (room: string, item: Record<string, string>) =>
    [room, 'set', xml('query', { xmlns: 'http://jabber.org/protocol/muc#admin' }, xml('item', item))] as const;

  test.each([
    ['kicked', { nick: 'ben', role: 'none' }, 'xmpp.kicked'],
    ['banned', { jid: 'ben@kith.internal', affiliation: 'outcast' }, 'xmpp.banned'],
  ])('%s by the owner', async (_how, item, code) => {
    const name = newName();
    await using anna = await prosody.open('anna');
    await using ben = await prosody.open('ben');
    await using _a = await join(anna, name, 'anna');
    await using b = await join(ben, name, 'ben');
    await anna.request(...admin(name, item));
    expect((await b.closed)?.code).toBe(code);
    expect(ben.state).toBe('online');
  });

  test('a room that its owner closes is closed for everybody', async () => {
    const name = newName();
    await using anna = await prosody.open('anna');
    await using ben = await prosody.open('ben');
    await using _a = await join(anna, name, 'anna');
    await using b = await join(ben, name, 'ben');
    await anna.request(
      name,
      'set',
      xml('query', { xmlns: 'http://jabber.org/protocol/muc#owner' }, xml('destroy', {})),
    );
    expect((await b.closed)?.code).toBe('xmpp.room-destroyed');
  });

  test('a room that forgot us without a word is joined again at the next heartbeat', async () => {
    const name = newName();
    const clock = virtualClock();
    await using anna = await prosody.open('anna');
    await using ben = await prosody.open('ben');
    await using a = await join(anna, name, 'anna');
    const events = follow(a);
    // Ben's room object is not told: his session leaves behind its back.
    let deaf = true;
    const half = Object.create(ben, {
      onStanza: {
        value: (handler: Parameters<Session['onStanza']>[0]) =>
          ben.onStanza((stanza) => (deaf && stanza.attrs['type'] === 'unavailable' ? undefined : handler(stanza))),
      },
    }) as Session;
    await using b = await join(half, name, 'ben', { clock });
    ben.send(xml('presence', { to: `${name}/ben`, type: 'unavailable' }), { priority: 'control' });
    await vi.waitFor(() => expect(events).toEqual(['ben joined', 'ben left']), soon);
    deaf = false;
    clock.advance(10_000);
    await vi.waitFor(() => expect(events).toEqual(['ben joined', 'ben left', 'ben joined']), soon);
    expect(b.nick).toBe('ben');
  });
});

describe('what strangers send', () => {
  test.each([
    ['no JSON', '{'],
    ['unknown fields', JSON.stringify({ ...capacityOf(), root: true })],
    ['too much of it', JSON.stringify({ ...capacityOf(), software: 'x'.repeat(5000) })],
    ['wrong types', JSON.stringify({ ...capacityOf(), cpus: -1 })],
  ])('capacity that is %s leaves an occupant without capacity', async (_what, json) => {
    const name = newName();
    await using anna = await prosody.open('anna');
    await using ben = await prosody.open('ben');
    await using a = await join(anna, name, 'anna');
    const muc = xml('x', { xmlns: 'http://jabber.org/protocol/muc' });
    ben.send(xml('presence', { to: `${name}/ben` }, muc, xml('kith', { xmlns: 'urn:kith:0' }, json)), {
      priority: 'control',
    });
    await vi.waitFor(() => expect(a.occupants()).toMatchObject([{ nick: 'ben', alive: true }]), soon);
    expect(a.occupants()[0]?.capacity).toBeUndefined();
  });

  test('presence, subjects and messages of every odd shape change nothing', async () => {
    const name = newName();
    await using anna = await prosody.open('anna');
    await using ben = await prosody.open('ben');
    await using a = await join(anna, name, 'anna');
    await using _b = await join(ben, name, 'ben');
    await settle(anna, ben);
    const events = follow(a);
    const user = { xmlns: 'http://jabber.org/protocol/muc#user' };
    for (const stanza of [
      xml(
        'presence',
        { to: anna.jid },
        xml('x', user, xml('item', { jid: 'ghost@kith.internal/1' }), xml('status', { code: '110' })),
      ),
      xml('presence', { to: anna.jid, type: 'unavailable' }, xml('x', user, xml('status', { code: '307' }))),
      xml('presence', { to: anna.jid, type: 'error' }, xml('error', { type: 'cancel' })),
      xml('message', { to: name, type: 'groupchat' }, xml('kith', { xmlns: 'urn:kith:0' }, '[]')),
      xml('message', { to: name, type: 'groupchat' }, xml('body', {}, 'hello')),
      xml('message', { to: anna.jid, type: 'error' }, xml('error', { type: 'cancel' })),
      xml('iq', { to: anna.jid, type: 'result', id: 'x' }),
    ]) {
      ben.send(stanza, { priority: 'control' });
    }
    await settle(ben, anna);
    expect(events).toEqual([]);
    expect(nicks(a)).toEqual(['ben']);
    expect(anna.state).toBe('online');
  });
});
