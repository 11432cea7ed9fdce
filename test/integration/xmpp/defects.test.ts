/** The fifteen defects of @xmpp/client 0.14 used bare, each with the way in which our session does not have it. */
import { createServer, Socket } from 'node:net';
import { xml } from '@xmpp/client';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { KithError } from '../../../src/base/errors.ts';
import { openMailbox } from '../../../src/xmpp/mailbox.ts';
import { openSession, type Session, type SessionOptions } from '../../../src/xmpp/session.ts';
import { PinnedSocket } from '../../../src/xmpp/tls-socket.ts';
import type { Element } from '../../../src/xmpp/xml.ts';
import {
  admit,
  bindAndEnable,
  FAKE_PASSWORD,
  greet,
  scram,
  startFakeServer,
  type FakeServer,
} from '../../harness/fake-server.ts';
import { startFaultProxy } from '../../harness/fault-proxy.ts';
import { startTestServer, type TestServer } from '../../harness/prosody.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';
import { plainSeals } from '../../harness/plain-trust.ts';

const soon = { timeout: 20_000, interval: 5 };
const control = { priority: 'control' } as const;

let prosody: TestServer;
beforeAll(async () => {
  prosody = await startTestServer();
});
afterAll(() => prosody[Symbol.asyncDispose]());
afterEach(() => void vi.restoreAllMocks());

const fakeSession = (fake: FakeServer, more: Partial<SessionOptions> = {}): Promise<Session> =>
  openSession({
    host: '127.0.0.1',
    port: fake.port,
    domain: fake.domain,
    fingerprint: fake.fingerprint,
    username: 'me',
    password: FAKE_PASSWORD,
    bytesPerSecond: 1e6,
    ...more,
  });

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no error',
    (error: unknown) => (error instanceof KithError ? error.code : String(error)),
  );

const ping = () => xml('ping', { xmlns: 'urn:xmpp:ping' });
const bodies = (session: Session): string[] => {
  const list: string[] = [];
  session.onStanza((stanza) => {
    if (stanza.name === 'message') list.push(stanza.getChildText('body') ?? '');
  });
  return list;
};
const say = (to: string, body: string): Element => xml('message', { to }, xml('body', {}, body));

describe('defects of the library', () => {
  test('1: answers to questions count as received, so that a cut after 600 of them can be resumed', async () => {
    await using proxy = await startFaultProxy({ port: prosody.server.port });
    await using session = await prosody.open('one', { port: proxy.port });
    for (let round = 0; round < 6; round++) {
      await Promise.all(Array.from({ length: 100 }, () => session.request(undefined, 'get', ping())));
    }
    proxy.cut();
    await vi.waitFor(() => expect(session.counters()).toMatchObject({ resumed: 1, fresh: 1, repeats: 0 }), soon);
  });

  test.each([
    ['signs without knowing the password', { password: 'guessed' }],
    ['asks for one iteration', { iterations: 1 }],
    ['asks for ten million iterations', { iterations: 10_000_000 }],
    ['says success without a signature', { final: `<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>` }],
  ])('2: a server that %s is left', async (_what, lies) => {
    await using fake = await startFakeServer(async (connection) => {
      await greet(connection);
      await scram(connection, lies);
      await bindAndEnable(connection);
    });
    expect(await codeOf(fakeSession(fake))).toBe('xmpp.server-not-authentic');
    expect(fake.connections[0]?.received).not.toContain('<iq');
  });

  test('2: a server that only offers PLAIN never hears the password', async () => {
    await using fake = await startFakeServer((connection) => greet(connection, ['PLAIN', 'ANONYMOUS']));
    expect(await codeOf(fakeSession(fake))).toBe('xmpp.no-safe-login');
    expect(fake.connections[0]?.received).not.toContain('<auth');
  });

  test('3: a server without TLS hears nothing of ours in clear text', async () => {
    const heard: Buffer[] = [];
    const server = createServer((socket) => {
      socket.on('error', () => {}).on('data', (data) => heard.push(data));
      socket.write(
        `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'><stream:features/>`,
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const opening = openSession({
      host: '127.0.0.1',
      port,
      domain: 'x',
      username: 'me',
      password: 'pw',
      bytesPerSecond: 1e6,
    });
    expect(await codeOf(opening)).toBe('xmpp.unreachable');
    expect(Buffer.concat(heard).toString('latin1')).not.toContain('stream');
    await new Promise((resolve) => server.close(resolve));
  });

  test('4: what is sent while the line is down waits for the session and arrives once, in order', async () => {
    await using proxy = await startFaultProxy({ port: prosody.server.port });
    await using sender = await prosody.open('four', { port: proxy.port });
    await using receiver = await prosody.open('four-b');
    const got = bodies(receiver);
    proxy.cut();
    const sent = Array.from({ length: 39 }, (_, index) => `m${index}`);
    for (const body of sent) expect(sender.send(say(receiver.jid, body), control)).toBe(true);
    await vi.waitFor(() => expect(got).toHaveLength(39), soon);
    expect(got).toEqual(sent);
  });

  test('4: no stanza leaves before stream management is enabled', async () => {
    await using fake = await startFakeServer((connection) => admit(connection));
    await using session = await fakeSession(fake);
    fake.connections[0]?.end();
    await vi.waitFor(() => expect(session.state).toBe('reconnecting'), soon);
    session.send(say('you@fake.internal/x', 'later'), control);
    await vi.waitFor(() => expect(fake.connections[1]?.received).toContain('later'), soon);
    await vi.waitFor(() => expect(fake.connections[1]?.received).toContain('<enable '), soon);
    const text = fake.connections[1]?.received ?? '';
    expect(text.indexOf('later')).toBeGreaterThan(text.indexOf('<enable '));
  });

  test('5: stanzas in the same packet as <enabled/> are counted from zero, all of them', async () => {
    await using fake = await startFakeServer(async (connection) => {
      await admit(connection, `<message from='a@b/c'/><presence from='a@b/c'/><r xmlns='urn:xmpp:sm:3'/>`);
    });
    await using session = await fakeSession(fake);
    expect(session.state).toBe('online');
    await vi.waitFor(() => expect(fake.connections[0]?.received).toContain('<a xmlns="urn:xmpp:sm:3" h="2"/>'), soon);
  });

  test('6: a server that accepts and never answers ends the first attempt with a clear error', async () => {
    const clock = virtualClock();
    await using proxy = await startFaultProxy({ port: prosody.server.port });
    await prosody.account('six');
    proxy.mute(true);
    const opening = codeOf(prosody.open('six', { port: proxy.port, clock }));
    await vi.waitFor(() => expect(proxy.fromClients.length).toBeGreaterThan(0), soon);
    clock.advance(20_000);
    expect(await opening).toBe('xmpp.unreachable');
  });

  test('6: a server that goes mute in mid-session is left, and found again when it speaks', async () => {
    const clock = virtualClock();
    await using proxy = await startFaultProxy({ port: prosody.server.port });
    await using session = await prosody.open('six-b', { port: proxy.port, clock });
    proxy.mute(true);
    for (let second = 0; second < 60 && session.state === 'online'; second++) {
      clock.advance(1000);
      await new Promise(setImmediate);
    }
    expect(session.state).toBe('reconnecting');
    proxy.mute(false);
    proxy.cut();
    await vi.waitFor(() => {
      clock.advance(100);
      expect(session.state).toBe('online');
    }, soon);
  });

  test('7: Nagle is off on every connection', async () => {
    const noDelay = vi.spyOn(Socket.prototype, 'setNoDelay');
    await using session = await prosody.open('seven');
    expect(session.state).toBe('online');
    expect(noDelay).toHaveBeenCalledWith(true);
  });

  test('8: a character that is split between two packets arrives whole', async () => {
    const text = Buffer.from(`<message from='a@b/c'><body>${'€'.repeat(50)}</body></message>`);
    await using fake = await startFakeServer(async (connection) => {
      await admit(connection);
      await connection.expect(/<presence/);
      for (const byte of text) {
        connection.send(Buffer.from([byte]));
        await new Promise(setImmediate);
      }
    });
    await using session = await fakeSession(fake);
    const got = bodies(session);
    await vi.waitFor(() => expect(got).toEqual(['€'.repeat(50)]), soon);
  });

  test('9: characters that XML forbids travel as escapes and do not end the stream', async () => {
    await using sender = await prosody.open('nine');
    await using receiver = await prosody.open('nine-b');
    const data = '\u0000\u0001\uFFFE\uD800 <>&"\' ünï 🦀';
    const seen: unknown[] = [];
    openMailbox({ seals: plainSeals, session: receiver }).serve(async (_from, message) => void seen.push(message));
    await openMailbox({ seals: plainSeals, session: sender }).request(receiver.jid, {
      kind: 'guest.type',
      lease: 'l',
      data,
    });
    expect(seen).toEqual([{ kind: 'guest.type', lease: 'l', data }]);
    expect([sender.counters(), receiver.counters()]).toMatchObject([{ fresh: 1 }, { fresh: 1 }]);
  });

  test('10: receipts are asked for while sending, not only in pauses', async () => {
    const clock = virtualClock(); // stands still: no tick asks
    await using sender = await prosody.open('ten', { clock });
    await using receiver = await prosody.open('ten-b');
    const got = bodies(receiver);
    for (let index = 0; index < 300; index++) sender.send(say(receiver.jid, `${index}`), control);
    await vi.waitFor(() => expect(got).toHaveLength(300), soon);
    await vi.waitFor(() => expect(sender.counters().unconfirmed).toBeLessThan(30), soon);
  });

  test('11: an answer forged by a third peer is nobody’s', async () => {
    await using asker = await prosody.open('eleven');
    await using asked = await prosody.open('eleven-b');
    await using forger = await prosody.open('eleven-c');
    const result = (id: unknown, who: string) =>
      xml('iq', { type: 'result', to: asker.jid, id: String(id) }, xml('x', { xmlns: 'u', who }));
    asked.onStanza((stanza) => {
      if (stanza.name !== 'iq') return false;
      // The forger is told even the random id, and is sure to be first.
      forger.send(result(stanza.attrs['id'], 'forger'), control);
      void forger
        .request(asker.jid, 'get', ping())
        .then(() => asked.send(result(stanza.attrs['id'], 'asked'), control));
      return true;
    });
    const answer = await asker.request(asked.jid, 'set', xml('x', { xmlns: 'u' }));
    expect(answer.getChild('x')?.attrs['who']).toBe('asked');
  });

  test('12: long text without a bracket is parsed once, however it is cut', async () => {
    const body = 'x'.repeat(200_000);
    await using fake = await startFakeServer(async (connection) => {
      await admit(connection, `<message from='a@b/c'><body>`);
      for (let at = 0; at < body.length; at += 1000) {
        connection.send(body.slice(at, at + 1000));
        await new Promise(setImmediate);
      }
      connection.send('</body></message>');
    });
    const emit = vi.spyOn(PinnedSocket.prototype, 'emit');
    await using session = await fakeSession(fake);
    const got = bodies(session);
    await vi.waitFor(() => expect(got).toEqual([body]), soon);
    const count = (event: string) => emit.mock.calls.filter(([name]) => name === event).length;
    expect(count('bytes')).toBeGreaterThan(50);
    expect(count('data')).toBeLessThan(20);
  });

  test('13: a self-signed certificate is accepted by its fingerprint alone, and asked for by the domain’s name', async () => {
    await using fake = await startFakeServer((connection) => admit(connection));
    await using session = await fakeSession(fake);
    expect(session.state).toBe('online');
    expect(fake.connections[0]?.servername).toBe('fake.internal');
    expect(await codeOf(fakeSession(fake, { fingerprint: fake.fingerprint.replace(/^../, '00') }))).toBe(
      'xmpp.certificate',
    );
    expect(await codeOf(fakeSession(fake, { fingerprint: undefined }))).toBe('xmpp.certificate');
    expect(
      fake.connections
        .slice(1)
        .map((connection) => connection.received)
        .join(''),
    ).toBe('');
  });

  test('14: attempts come with growing pauses, at most 30 s, and end after two minutes', async () => {
    const clock = virtualClock();
    await using proxy = await startFaultProxy({ port: prosody.server.port, now: () => clock.now() });
    await using session = await prosody.open('fourteen', { port: proxy.port, clock, random: () => 0.5 });
    proxy.refuse(true);
    proxy.cut();
    await vi.waitFor(() => {
      if (session.state === 'reconnecting') clock.advance(500);
      expect(session.state).toBe('closed');
    }, soon);
    expect((await session.closed)?.code).toBe('xmpp.unreachable');
    const pauses = proxy.arrivals.slice(1).map((at, index) => at - (proxy.arrivals[index] ?? 0));
    expect(pauses.length).toBeLessThan(14);
    expect(pauses.at(-1)).toBeGreaterThan(20_000);
  });

  test('14: two processes with one resource do not kick each other for ever', async () => {
    await using first = await prosody.open('fourteen-b', { resource: 'same' });
    await using second = await prosody.open('fourteen-b', { resource: 'same' });
    expect((await first.closed)?.code).toBe('xmpp.conflict');
    expect(second.state).toBe('online');
    expect(second.counters().fresh).toBe(1);
  });

  test.each([
    ['an entity that does not exist', '<message>&bogus;</message>'],
    ['a stray end tag', '</nothing>'],
    ['unbalanced elements', '<message><a></b></message>'],
    ['one element without an end', `<message><body>${'x'.repeat(600_000)}`],
    ['a stream error', `<stream:error><host-gone xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>`],
    [
      'an address that is none',
      `<iq type='get' from='@@@/' to='///' id='1'><ping xmlns='urn:xmpp:ping'/></iq></stream:stream>`,
    ],
  ])('15: %s from the server costs the connection, not the process', async (_what, poison) => {
    let first = true;
    await using fake = await startFakeServer(async (connection) => {
      await admit(connection);
      if (first) {
        first = false;
        await connection.expect(/<presence/);
        connection.send(poison);
      }
    });
    await using session = await fakeSession(fake, { random: () => 0 });
    await vi.waitFor(() => expect(session.counters().fresh).toBe(2), soon);
    expect(session.state).toBe('online');
  });

  test('15: a handler that throws is an event in the log, and the question is answered', async () => {
    await using session = await prosody.open('fifteen');
    await using other = await prosody.open('fifteen-b');
    session.onStanza(() => {
      throw new Error('handler is broken');
    });
    expect(await codeOf(other.request(session.jid, 'set', xml('x', { xmlns: 'unknown' })))).toBe(
      'xmpp.service-unavailable',
    );
    await other.request(session.jid, 'get', ping());
    expect(session.state).toBe('online');
  });
});
