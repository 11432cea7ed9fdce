/** Stanzas and messages that are not what they should be: answers of others, repeats, floods, broken and oversized text, wrong types. */
import { xml } from '@xmpp/client';
import { afterAll, beforeAll, vi } from 'vitest';
import { asciiJson } from '../../src/base/ascii.ts';
import { KithError } from '../../src/base/errors.ts';
import { openSession, type Session, type SessionOptions } from '../../src/xmpp/session.ts';
import { openStream } from '../../src/xmpp/stream.ts';
import type { Element } from '../../src/xmpp/xml.ts';
import { leaseRequest, raw } from '../harness/evil-friends.ts';
import { attacks, type Attack, type Outcome } from '../harness/evil-rows.ts';
import { amongFriends, openEvilWorld, type EvilWorld } from '../harness/evil-world.ts';
import { deliver, intercept, question } from '../harness/evil-words.ts';
import { admit, FAKE_PASSWORD, startFakeServer, type FakeConnection, type FakeServer } from '../harness/fake-server.ts';
import { settle, soon } from '../harness/xmpp.ts';

let world: EvilWorld;
beforeAll(async () => {
  world = await openEvilWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

/** A forged answer comes first, the true one after it; it succeeded if the asker took the first. */
const answeredBy =
  (forged: (asker: Session, id: string, third: Session) => Element) =>
  async (on: EvilWorld): Promise<Outcome> => {
    await using asker = await on.prosody.open('alice', { port: on.evil.port });
    await using asked = await on.prosody.open('ben', { port: on.evil.port });
    await using third = await on.prosody.open('cleo', { port: on.evil.port });
    const question = on.evil.take(({ client, stanza }) => client === asker.jid && stanza.attrs['to'] === asked.jid);
    const reply = asker.request(asked.jid, 'set', xml('x', { xmlns: 'u' })).then(
      (stanza) => String(stanza.getChild('x')?.attrs['by']),
      (error: Error) => error.message,
    );
    const id = String((await question).stanza.attrs['id']);
    const honest = xml(
      'iq',
      { type: 'result', id, from: asked.jid, to: asker.jid },
      xml('x', { xmlns: 'u', by: 'ben' }),
    );
    on.evil.inject(asker.jid, forged(asker, id, third));
    on.evil.inject(asker.jid, honest);
    const taken = await reply;
    return taken === 'ben' ? 'refused: the true answer is taken' : 'succeeded';
  };

const result = (from: string | undefined, to: string, id: string): Element =>
  xml('iq', { type: 'result', id, to, ...(from === undefined ? {} : { from }) }, xml('x', { xmlns: 'u', by: 'evil' }));

/** A hostile member says this in an envelope that is all right. */
const saying = (message: unknown) =>
  amongFriends(async ({ ben, cleo }) => {
    await cleo.mailbox.request(ben.jid, raw(message)).catch(() => {});
    return ben.heard.length > 0 ? 'succeeded' : 'refused: protocol.message';
  });

/** A hostile member answers with this. */
const replying = (reply: unknown) =>
  amongFriends(async ({ ben, cleo }) => {
    const stop = cleo.answerWith(reply);
    const outcome = await ben.mailbox.request(cleo.jid, leaseRequest()).then(
      () => 'succeeded' as const,
      (error: unknown) => `refused: ${error instanceof KithError ? error.code : String(error)}` as const,
    );
    stop();
    return outcome;
  });

const account = ({ port, domain, fingerprint }: FakeServer): SessionOptions => ({
  host: '127.0.0.1',
  port,
  domain,
  fingerprint,
  username: 'me',
  password: FAKE_PASSWORD,
  bytesPerSecond: 1e6,
  random: () => 0,
});

/** A server without Prosody behind it sends this to a client that has just come online; it succeeded if the client bears it. */
const bearing = (poison: (connection: FakeConnection) => Promise<void>) => async (): Promise<Outcome> => {
  let first = true;
  await using fake = await startFakeServer(async (connection) => {
    await admit(connection);
    await connection.expect(/<presence/);
    if (!first) return;
    first = false;
    await poison(connection);
  });
  await using session = await openSession(account(fake));
  let borne = false;
  session.onStanza((stanza) => {
    if (stanza.name === 'message') borne = true;
  });
  await vi.waitFor(() => {
    if (!borne && session.counters().fresh < 2) throw new Error('neither borne nor left');
  }, soon);
  return borne ? 'succeeded' : 'refused: the connection is given up';
};

/** Larger than what the client takes in one piece. */
const MUCH = 600_000;

const rows: readonly Attack<EvilWorld>[] = [
  {
    name: 'answer of a third peer, with the right id',
    guard: 'requests: only who was asked may answer',
    off: ['requests.from'],
    attack: answeredBy((asker, id, third) => result(third.jid, asker.jid, id)),
  },
  {
    name: 'answer of the server, in its own name',
    guard: 'requests: only who was asked may answer',
    off: ['requests.from'],
    attack: answeredBy((asker, id) => result(undefined, asker.jid, id)),
  },
  {
    name: 'answer of the account without its resource',
    guard: 'requests: only who was asked may answer',
    off: ['requests.from'],
    attack: answeredBy((asker, id) => result('ben@kith.internal', asker.jid, id)),
  },
  {
    name: 'error of a third peer, to make a request fail',
    guard: 'requests: only who was asked may answer',
    off: ['requests.from'],
    attack: answeredBy((asker, id, third) =>
      xml(
        'iq',
        { type: 'error', id, from: third.jid, to: asker.jid },
        xml('error', { type: 'cancel' }, xml('gone', { xmlns: 'urn:ietf:params:xml:ns:xmpp-stanzas' })),
      ),
    ),
  },
  {
    name: 'message that comes twice',
    guard: 'inbox: each id of a sender once',
    off: ['inbox.once'],
    async attack(on) {
      await using session = await on.prosody.open('alice', { port: on.evil.port });
      let count = 0;
      session.onStanza((stanza) => {
        if (stanza.name === 'message') count++;
      });
      const message = xml(
        'message',
        { from: 'ben@kith.internal/x', to: session.jid, id: 'one' },
        xml('body', {}, 'pay'),
      );
      on.evil.inject(session.jid, message);
      on.evil.inject(session.jid, message);
      await settle(session);
      return count > 1 ? 'succeeded' : 'refused: the second one is dropped';
    },
  },
  {
    name: 'request addressed to another session, or to the account as a whole',
    guard: 'mailbox: only what names our session',
    off: ['mailbox.to'],
    attack: amongFriends(async ({ evil, alice, ben }) => {
      using held = await intercept(evil, alice, ben, leaseRequest());
      return await deliver(evil, ben, question(alice.jid, ben.account, held.signed));
    }),
  },
  {
    name: 'one friend floods with requests that take long',
    guard: 'mailbox: at most 32 at once for one account',
    off: ['mailbox.busy'],
    attack: amongFriends(async ({ ben, cleo }) => {
      const gate = Promise.withResolvers<void>();
      const stop = ben.answerWith(() => gate.promise);
      const all = Array.from({ length: 40 }, () =>
        cleo.mailbox.request(ben.jid, { kind: 'lease.end', lease: 'l', reason: 'flood' }),
      );
      const results = Promise.allSettled(all);
      // Those that are refused are answered at once; the others wait until the last one has been looked at.
      let answered = 0;
      for (const each of all) void each.finally(() => answered++).catch(() => {});
      await vi.waitFor(() => {
        if (ben.heard.length + answered < all.length) throw new Error('not yet');
      }, soon);
      gate.resolve();
      await results;
      stop();
      return ben.heard.length === all.length ? 'succeeded' : `refused: ${ben.heard.length} of ${all.length} ran`;
    }),
  },
  {
    name: 'text that is not JSON',
    guard: 'mailbox: JSON or nothing',
    off: ['mailbox.json'],
    attack: amongFriends(async ({ evil, ben, cleo }) => {
      const { signed } = await cleo.circle.seal(ben.jid, 'lease.end', '{"kind":');
      return await deliver(evil, ben, question(cleo.jid, ben.jid, signed));
    }),
  },
  {
    name: 'message larger than any may be',
    guard: 'mailbox: at most 65,536 bytes',
    off: ['mailbox.schema'],
    attack: amongFriends(async ({ evil, ben, cleo }) => {
      const text = asciiJson({ kind: 'lease.end', lease: 'l', reason: 'x'.repeat(66_000) });
      const { signed } = await cleo.circle.seal(ben.jid, 'lease.end', text);
      return await deliver(evil, ben, question(cleo.jid, ben.jid, signed));
    }),
  },
  {
    name: 'unknown kind of message',
    guard: 'mailbox: schema',
    off: ['mailbox.schema'],
    attack: saying({ kind: 'format.disk' }),
  },
  {
    name: 'wrong types',
    guard: 'mailbox: schema',
    off: ['mailbox.schema'],
    attack: saying({ kind: 'lease.renew', lease: ['l'], seconds: '90' }),
  },
  {
    name: 'numbers beyond all reason',
    guard: 'mailbox: schema',
    off: ['mailbox.schema'],
    attack: saying({ kind: 'lease.renew', lease: 'l', seconds: 1e308 }),
  },
  {
    name: 'fields that nobody asked for',
    guard: 'mailbox: schema',
    off: ['mailbox.schema'],
    attack: saying({ kind: 'lease.renew', lease: 'l', seconds: 90, sudo: true }),
  },
  {
    name: 'keys that poison prototypes',
    guard: 'mailbox: schema',
    off: ['mailbox.schema'],
    attack: amongFriends(async ({ evil, ben, cleo }) => {
      const text = '{"kind":"lease.renew","lease":"l","seconds":90,"__proto__":{"admin":true}}';
      const { signed } = await cleo.circle.seal(ben.jid, 'lease.renew', text);
      await deliver(evil, ben, question(cleo.jid, ben.jid, signed));
      const careless = Object.assign({}, ben.heard[0]?.message) as { admin?: boolean };
      return careless.admin === true ? 'succeeded' : 'refused: protocol.message';
    }),
  },
  {
    name: 'reply of the wrong shape',
    guard: 'mailbox: schema of each reply',
    off: ['mailbox.reply'],
    attack: replying({ lease: 7, seconds: 'many' }),
  },
  {
    name: 'reply that promises more than a day',
    guard: 'mailbox: schema of each reply',
    off: ['mailbox.reply'],
    attack: replying({ lease: 'l', seconds: 1e9 }),
  },
  {
    name: 'stanza without an end',
    guard: 'transport: at most 512 KiB in one piece',
    off: ['tls.input'],
    attack: bearing(async (connection) => {
      connection.send(`<message from='a@b/c'><body>${'x'.repeat(MUCH)}</body></message>`);
    }),
  },
  {
    name: 'XML nested two hundred thousand deep',
    guard: 'transport: at most 512 KiB in one piece',
    off: ['tls.input'],
    attack: bearing(async (connection) => {
      connection.send(`<message from='a@b/c'>${'<a>'.repeat(MUCH / 3)}${'</a>'.repeat(MUCH / 3)}</message>`);
    }),
  },
  {
    name: 'server confirms stanzas that were never sent, so that lost ones are not sent again',
    guard: 'ledger: no more receipts than stanzas',
    off: ['ledger.count'],
    attack: bearing(async (connection) => {
      connection.send(`<a xmlns='urn:xmpp:sm:3' h='100'/><message from='a@b/c'/>`);
    }),
  },
  {
    name: 'server makes somebody else of us after an outage',
    guard: 'session: one address for its whole life',
    off: ['session.jid'],
    async attack() {
      let logins = 0;
      await using fake = await startFakeServer(async (connection) => {
        const login = ++logins;
        const resource = login === 1 ? '/here' : '/elsewhere';
        const send = (data: string | Buffer) => connection.send(data.toString().replace('/here', resource));
        await admit(Object.create(connection, { send: { value: send } }) as FakeConnection);
        await connection.expect(/<presence/);
        if (login === 1) connection.end();
      });
      await using session = await openSession(account(fake));
      let over: string | undefined;
      void session.closed.then((error) => (over = error?.code));
      await vi.waitFor(() => {
        if (over === undefined && session.counters().fresh < 2) throw new Error('not yet');
      }, soon);
      return over === undefined && session.jid.endsWith('/elsewhere') ? 'succeeded' : `refused: ${over}`;
    },
  },
  {
    name: 'flood of elements while we log in',
    guard: 'login: at most 1000 elements before it is done',
    off: ['stream.inbox'],
    async attack() {
      await using fake = await startFakeServer(async (connection) => {
        await connection.expect(/<stream:stream[^>]*>/);
        connection.send(
          `<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>${'<message/>'.repeat(3000)}`,
        );
        connection.send(`<message id='last'/>`);
      });
      const { host, port, domain, fingerprint, signal } = {
        ...fake,
        host: '127.0.0.1',
        signal: AbortSignal.timeout(30_000),
      };
      const stream = await openStream({ host, port, domain, fingerprint, signal });
      let taken = false;
      try {
        while (!taken) taken = (await stream.read()).attrs['id'] === 'last';
      } catch {
        // It has hung up.
      }
      stream.destroy(new Error('seen'));
      return taken ? 'succeeded' : 'refused: xmpp.oversized';
    },
  },
];

attacks(rows, () => world);
