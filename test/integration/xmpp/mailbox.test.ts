/** Requests between peers over a real server: answered, refused, repeated, forged, oversized, and to nobody. */
import { xml } from '@xmpp/client';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { KithError } from '../../../src/base/errors.ts';
import type { Request } from '../../../src/protocol/messages.ts';
import { openMailbox, type RequestHandler } from '../../../src/xmpp/mailbox.ts';
import type { Session } from '../../../src/xmpp/session.ts';
import { startFaultProxy } from '../../harness/fault-proxy.ts';
import { startTestServer, type TestServer } from '../../harness/prosody.ts';
import { codeOf, settle, soon } from '../../harness/xmpp.ts';
import { plainSeals } from '../../harness/plain-trust.ts';

let prosody: TestServer;
let asker: Session;
let server: Session;
beforeAll(async () => {
  prosody = await startTestServer();
  asker = await prosody.open('asker');
  server = await prosody.open('server');
});
afterAll(() => prosody[Symbol.asyncDispose]());

const renew: Extract<Request, { kind: 'lease.renew' }> = { kind: 'lease.renew', lease: 'l1', seconds: 9 };
const end: Extract<Request, { kind: 'lease.end' }> = { kind: 'lease.end', lease: 'l1', reason: 'ünïcode' };

function serving(session: Session, handler: RequestHandler): Disposable & { readonly self: string } {
  const mailbox = openMailbox({ seals: plainSeals, session });
  const stop = mailbox.serve(handler);
  return { self: mailbox.self, [Symbol.dispose]: stop };
}

test('a request is answered by the peer it is for, who knows from whom it is', async () => {
  const got: unknown[] = [];
  using _serving = serving(server, async (from, message) => {
    got.push([from, message]);
    return message.kind === 'lease.renew' ? { seconds: 7 } : {};
  });
  const mailbox = openMailbox({ seals: plainSeals, session: asker });
  expect(await mailbox.request(server.jid, renew)).toEqual({ seconds: 7 });
  expect(await mailbox.request(server.jid, end)).toEqual({});
  expect(got).toEqual([
    [asker.jid, renew],
    [asker.jid, end],
  ]);
});

test('a refusal arrives with its code, reason and hint; an unforeseen error without its inside', async () => {
  using _serving = serving(server, async (_from, message) => {
    if (message.kind === 'lease.end') throw new TypeError('secret path /home/anna');
    throw new KithError({ code: 'job.no-memory', message: 'only 10 MiB free — sorry', hint: 'ask for less' });
  });
  const mailbox = openMailbox({ seals: plainSeals, session: asker });
  await expect(mailbox.request(server.jid, renew)).rejects.toMatchObject({
    code: 'job.no-memory',
    message: 'only 10 MiB free — sorry',
    hint: 'ask for less',
  });
  await expect(mailbox.request(server.jid, end)).rejects.toMatchObject({
    code: 'internal',
    message: expect.not.stringContaining('secret'),
  });
});

test('a reply of the wrong shape is refused at the asker', async () => {
  using _serving = serving(server, async () => ({ seconds: 'many' }));
  expect(await codeOf(openMailbox({ seals: plainSeals, session: asker }).request(server.jid, renew))).toBe(
    'protocol.reply',
  );
});

test('a peer that is gone, one that does not serve, and one that does not answer', async () => {
  const mailbox = openMailbox({ seals: plainSeals, session: asker });
  expect(await codeOf(mailbox.request(`${server.jid}-gone`, renew))).toBe('xmpp.peer-gone');
  expect(await codeOf(mailbox.request('nobody@kith.internal/x', renew))).toBe('xmpp.peer-gone');
  expect(await codeOf(mailbox.request(server.jid, renew))).toBe('xmpp.peer-gone');
  using _serving = serving(server, () => new Promise(() => {}));
  expect(await codeOf(mailbox.request(server.jid, renew, { timeoutMs: 50 }))).toBe('xmpp.timeout');
  const stop = new AbortController();
  const asked = codeOf(mailbox.request(server.jid, renew, { signal: stop.signal }));
  stop.abort(new KithError({ code: 'test.stop', message: 'stop' }));
  expect(await asked).toBe('test.stop');
  await settle(asker, server); // what is sent is sent: it must not arrive in the next test
});

test('a request to ourselves is served without the server, through the same checks', async () => {
  const mailbox = openMailbox({ seals: plainSeals, session: asker });
  const send = vi.spyOn(asker, 'request');
  const stop = mailbox.serve(async (from, message) => {
    if (message.kind === 'lease.end') throw new KithError({ code: 'job.unknown-lease', message: 'no' });
    return { seconds: from === asker.jid ? 1 : 2 };
  });
  expect(await mailbox.request(mailbox.self, renew)).toEqual({ seconds: 1 });
  expect(await codeOf(mailbox.request(mailbox.self, end))).toBe('job.unknown-lease');
  expect(await codeOf(mailbox.request(mailbox.self, { ...renew, seconds: 0 }))).toBe('protocol.message');
  stop();
  expect(await codeOf(mailbox.request(mailbox.self, renew))).toBe('xmpp.not-serving');
  expect(send).not.toHaveBeenCalled();
  send.mockRestore();
});

test.each([
  ['no JSON', '{', 'xmpp.malformed'],
  ['an unknown kind', '{"kind":"format.disk"}', 'protocol.message'],
  ['unknown fields', JSON.stringify({ ...renew, sudo: true }), 'protocol.message'],
  ['more than a message may be', JSON.stringify({ ...end, reason: 'x'.repeat(70_000) }), 'xmpp.malformed'],
])(
  'what claims to be ours and is %s is refused with a reason, and never reaches the handler',
  async (_what, text, code) => {
    let runs = 0;
    using _serving = serving(server, async () => void runs++);
    const refusal = await asker.request(server.jid, 'set', xml('kith', { xmlns: 'urn:kith:0' }, text));
    expect(refusal.toString()).toContain(code);
    expect(runs).toBe(0);
  },
);

test('too large a message is refused before it is sent, too large a reply before it is', async () => {
  const mailbox = openMailbox({ seals: plainSeals, session: asker });
  const big = 'x'.repeat(70_000);
  expect(await codeOf(mailbox.request(server.jid, { kind: 'signal', channel: 'c', session: 's', data: big }))).toBe(
    'xmpp.oversized',
  );
  using _serving = serving(server, async () => ({ data: big, offset: 0, total: 1 }));
  expect(await codeOf(mailbox.request(server.jid, { kind: 'guest.log', lease: 'l', offset: 0 }))).toBe(
    'xmpp.oversized',
  );
});

test('a request that arrives twice runs once and is answered twice', async () => {
  let runs = 0;
  using _serving = serving(server, async () => ({ seconds: ++runs }));
  const answers: string[] = [];
  const stop = asker.onStanza(() => false);
  const question = (id: string) =>
    xml('iq', { type: 'set', id, to: server.jid }, xml('kith', { xmlns: 'urn:kith:0' }, JSON.stringify(renew)));
  const spy = vi.spyOn(server, 'send');
  for (const id of ['same', 'same', 'other']) asker.send(question(id), { priority: 'control' });
  await settle(asker, server);
  await vi.waitFor(() => expect(spy).toHaveBeenCalledTimes(3), soon);
  for (const [stanza] of spy.mock.calls) {
    const { text } = JSON.parse(stanza.getChildText('kith') ?? '') as { readonly text: string };
    answers.push(`${String(stanza.attrs['id'])} ${text}`);
  }
  expect(answers.toSorted()).toEqual([
    'other {"reply":{"seconds":2}}',
    'same {"reply":{"seconds":1}}',
    'same {"reply":{"seconds":1}}',
  ]);
  spy.mockRestore();
  stop();
});

test('one friend who floods gets refusals; the others are served', async () => {
  await using friend = await prosody.open('friend');
  const gate = Promise.withResolvers<void>();
  using _serving = serving(server, async (from) => {
    if (from === asker.jid) await gate.promise;
    return { seconds: 1 };
  });
  const flood = Array.from({ length: 50 }, () =>
    codeOf(openMailbox({ seals: plainSeals, session: asker }).request(server.jid, renew)),
  );
  expect(await openMailbox({ seals: plainSeals, session: friend }).request(server.jid, renew)).toEqual({ seconds: 1 });
  await settle(asker, server);
  gate.resolve();
  const codes = await Promise.all(flood);
  expect(codes.filter((code) => code === 'no error')).toHaveLength(32);
  expect(codes.filter((code) => code === 'xmpp.unsealed-refusal')).toHaveLength(18);
});

test('a request survives a cut of either side and runs once', async () => {
  await using proxy = await startFaultProxy({ port: prosody.server.port });
  await using left = await prosody.open('left', { port: proxy.port });
  await using right = await prosody.open('right', { port: proxy.port });
  let runs = 0;
  using _serving = serving(right, async () => {
    runs++;
    proxy.cut(); // the answer finds a dead line
    return { seconds: runs };
  });
  expect(await openMailbox({ seals: plainSeals, session: left }).request(right.jid, renew)).toEqual({ seconds: 1 });
  expect(runs).toBe(1);
});
