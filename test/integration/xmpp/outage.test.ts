/** The server dies and comes back: sessions return, rooms are taken again, nobody is told a lie meanwhile. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openMailbox } from '../../../src/xmpp/mailbox.ts';
import { joinRoom, type Room } from '../../../src/xmpp/room.ts';
import { startTestServer, type TestServer } from '../../harness/prosody.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';
import { capacityOf, codeOf, soon } from '../../harness/xmpp.ts';
import { plainIntroductions, plainSeals } from '../../harness/plain-trust.ts';

let prosody: TestServer;
beforeEach(async () => {
  prosody = await startTestServer();
});
afterEach(() => prosody[Symbol.asyncDispose]());

test.each([
  ['persistent room', { persistent: true }],
  ['room that died with the server', {}],
])(
  'kill -9 and restart on the same port: sessions come back with the same address, %s included',
  async (_what, create) => {
    const names = ['anna', 'ben', 'cleo'];
    const room = `team@${prosody.server.mucService}`;
    const sessions = await Promise.all(names.map((name) => prosody.open(name)));
    const [anna, ben] = sessions as [(typeof sessions)[0], (typeof sessions)[0]];
    const rooms: Room[] = [];
    for (const [index, session] of sessions.entries()) {
      rooms.push(
        await joinRoom({
          introductions: plainIntroductions,
          session,
          room,
          nick: names[index]!,
          capacity: capacityOf(),
          create: index === 0 ? create : undefined,
        }),
      );
    }
    const events: string[] = [];
    rooms[0]!.onChange((event) => events.push(event.kind));
    await vi.waitFor(() => expect(rooms[0]!.occupants()).toHaveLength(2), soon);
    events.length = 0;
    const jids = sessions.map((session) => session.jid);

    await prosody.crash();
    await vi.waitFor(
      () => expect(sessions.map((session) => session.state)).toEqual(Array(3).fill('reconnecting')),
      soon,
    );
    rooms[0]!.announce(capacityOf({ guests: 3 }));
    await prosody.restart();
    await vi.waitFor(() => expect(sessions.map((session) => session.state)).toEqual(Array(3).fill('online')), soon);
    expect(sessions.map((session) => session.jid)).toEqual(jids);
    expect(sessions.map((session) => session.counters().fresh)).toEqual([2, 2, 2]);

    using stack = new DisposableStack();
    stack.defer(openMailbox({ seals: plainSeals, session: ben }).serve(async () => ({ seconds: 1 })));
    await vi.waitFor(
      () => expect(rooms[1]!.occupants().find(({ nick }) => nick === 'anna')?.capacity?.guests).toBe(3),
      soon,
    );
    expect(
      await openMailbox({ seals: plainSeals, session: anna }).request(ben.jid, {
        kind: 'lease.renew',
        lease: 'x',
        seconds: 1,
      }),
    ).toEqual({ seconds: 1 });
    expect(rooms.map((entry) => entry.nick)).toEqual(names);
    // Who came back in time never left.
    expect(events).not.toContain('left');
    expect(events).not.toContain('dead');
    for (const entry of rooms) await entry[Symbol.asyncDispose]();
  },
);

test('a server that stays away ends session, room and open requests with a clear error', async () => {
  const clock = virtualClock();
  const session = await prosody.open('anna', { clock });
  const other = await prosody.open('ben');
  const room = await joinRoom({
    introductions: plainIntroductions,
    session,
    room: `team@${prosody.server.mucService}`,
    nick: 'anna',
    capacity: capacityOf(),
    create: {},
  });
  openMailbox({ seals: plainSeals, session: other }).serve(() => new Promise(() => {}));
  const asked = codeOf(
    openMailbox({ seals: plainSeals, session }).request(
      other.jid,
      { kind: 'lease.renew', lease: 'x', seconds: 1 },
      { timeoutMs: 1e6 },
    ),
  );
  await prosody.crash();
  await vi.waitFor(() => {
    clock.advance(500);
    expect(session.state).toBe('closed');
  }, soon);
  const reason = await session.closed;
  expect(reason).toMatchObject({
    code: 'xmpp.unreachable',
    message: expect.stringContaining('more than 120 s'),
    hint: expect.any(String),
  });
  expect(await room.closed).toBe(reason);
  expect(await asked).toBe('xmpp.unreachable');
  await session[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
});

test('an account that lost its password while the server was away gives up at once', async () => {
  const session = await prosody.open('anna');
  await prosody.crash();
  const { rm } = await import('node:fs/promises');
  await rm(`${prosody.directory}/data`, { recursive: true });
  await prosody.restart().catch(() => {});
  expect((await session.closed)?.code).toBe('xmpp.auth-failed');
});
