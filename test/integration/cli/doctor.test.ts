/** The doctor against a real Prosody, servers that lie or keep silent, and STUN and TURN by script. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { startChild } from '../../../src/base/process.ts';
import { silentLog } from '../../../src/base/log.ts';
import type { Subject } from '../../../src/doctor/check.ts';
import { examineHost, type CheckReport, type DoctorOptions } from '../../../src/doctor/doctor.ts';
import { openRooms } from '../../../src/home/rooms.ts';
import { openDevice } from '../../../src/trust/device.ts';
import { decodeInvitation, encodeInvitation } from '../../../src/trust/invitation.ts';
import { configureRoom, type CreateOptions } from '../../../src/xmpp/room-config.ts';
import type { Session } from '../../../src/xmpp/session.ts';
import { MUC_NS, xml } from '../../../src/xmpp/xml.ts';
import { withoutAdvice } from '../../harness/doctor.ts';
import { greet, startFakeServer } from '../../harness/fake-server.ts';
import { startFaultProxy } from '../../harness/fault-proxy.ts';
import { startTestServer, type TestServer } from '../../harness/prosody.ts';
import {
  addressAttribute,
  attribute,
  errorAttribute,
  isSignedBy,
  reply,
  startStunServer,
} from '../../harness/stun-server.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';
import { settle, soon } from '../../harness/xmpp.ts';

const MAIN = new URL('../../../src/cli/main.ts', import.meta.url).pathname;

let prosody: TestServer;
let owner: Session;
let folder: string;
let stop: AbortController;
beforeAll(async () => {
  prosody = await startTestServer();
  owner = await prosody.open('owner');
});
afterAll(() => prosody[Symbol.asyncDispose]());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-doctor-'));
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  await rm(folder, { recursive: true, force: true });
});

const text = (part: string) => expect.stringContaining(part) as string;

/** By name. No QEMU and no image are in this world, so that nothing boots; what is not fine always says cost and cure. */
async function examine(
  configured: Partial<Subject>,
  more: Partial<DoctorOptions> = {},
): Promise<Readonly<Record<string, CheckReport>>> {
  const result = await examineHost({
    configured,
    invitation: undefined,
    paths: { cache: join(folder, 'cache'), config: folder, state: join(folder, 'state'), runtime: folder },
    env: { PATH: folder },
    log: silentLog,
    signal: stop.signal,
    onReport: () => {},
    ...more,
  });
  expect(withoutAdvice(result.checks)).toEqual([]);
  expect(result.ok).toBe(result.checks.every(({ state }) => state !== 'broken'));
  return Object.fromEntries(result.checks.map((report) => [report.name, report]));
}

const address = (more: Partial<NonNullable<Subject['server']>> = {}) => {
  const { host, port, domain, fingerprint, bytesPerSecond } = prosody.server;
  return { host, port, domain, fingerprint, bytesPerSecond, ...more };
};

/** A room of the owner, made without anybody's help. */
async function room(name: string, create: CreateOptions = {}): Promise<string> {
  const jid = `${name}@${prosody.server.mucService}`;
  owner.send(xml('presence', { to: `${jid}/owner` }, xml('x', { xmlns: MUC_NS })), { priority: 'control' });
  await configureRoom(owner, jid, create);
  return jid;
}

describe('with a server of our own', () => {
  test('everything that is fine says so, and nobody in the room notices', async () => {
    const [account, jid] = await Promise.all([prosody.account('ann'), room('open')]);
    const seen: string[] = [];
    const forget = owner.onStanza((stanza) => {
      seen.push(stanza.toString());
      return false;
    });
    const found = await examine({ server: address(), account, room: jid });
    await settle(owner);
    forget();
    expect(found['server']).toMatchObject({ state: 'fine', found: text(`port ${prosody.server.port}`) });
    expect(found['TLS']).toMatchObject({ state: 'fine', found: text('TLSv1.3, the certificate is the promised one') });
    expect(found['login']).toMatchObject({ state: 'fine', found: text('ann@kith.internal by SCRAM-SHA-256') });
    expect(found['clock']).toMatchObject({ state: 'fine' });
    expect(found['room']).toMatchObject({ state: 'fine', found: `${jid} shows who is in it and lets you in` });
    expect(seen.filter((stanza) => stanza.includes('ann'))).toEqual([]);
  });

  test.each([
    [200, 'weak', 'ahead of'],
    [-200, 'weak', 'behind'],
    [3600, 'broken', 'ahead of'],
    [20, 'fine', 'ahead of'],
  ])('a clock that is off by %i s is %s', async (seconds, state, direction) => {
    const account = await prosody.account('ann');
    const machine = { now: () => Date.now() + seconds * 1000 };
    const found = await examine({ server: address(), account }, { machine });
    expect(found['clock']).toMatchObject({ state, found: text(` s ${direction} the server`) });
  });

  test('a wrong password is a broken login, and what needs one points to it', async () => {
    const account = { ...(await prosody.account('ann')), password: 'wrong' };
    const found = await examine({ server: address(), account, room: 'x@y' });
    expect(found['login']).toMatchObject({ state: 'broken', found: text('refused the login of ann') });
    for (const name of ['clock', 'room'])
      expect(found[name]).toMatchObject({ state: 'skipped', found: text('see login') });
  });

  test('a room that is not there is broken, unless peers of ours make it', async () => {
    const account = await prosody.account('ann');
    const jid = `nowhere@${prosody.server.mucService}`;
    const without = await examine({ server: address(), account, room: jid });
    expect(without['room']).toMatchObject({ state: 'broken', found: `there is no room ${jid}` });
    const making = await examine({ server: address(), account, room: jid, createRoom: true });
    expect(making['room']).toMatchObject({ state: 'fine' });
    // Looking did not make it.
    expect((await examine({ server: address(), account, room: jid }))['room']).toMatchObject({ state: 'broken' });
  });

  test('a service that is not there is told from a room', async () => {
    const account = await prosody.account('ann');
    const found = await examine({ server: address(), account, room: 'x@nowhere.invalid' });
    expect(found['room']).toMatchObject({ state: 'broken', found: text('no room service at nowhere.invalid') });
  });

  test('a room for members only: fine for a member, broken for a stranger', async () => {
    const jid = await room('members', { membersOnly: true });
    const [ann, eve] = await Promise.all([prosody.account('ann'), prosody.account('eve')]);
    const item = xml('item', { affiliation: 'member', jid: `ann@${prosody.server.domain}` });
    await owner.request(jid, 'set', xml('query', { xmlns: `${MUC_NS}#admin` }, item));
    const member = await examine({ server: address(), account: ann, room: jid });
    expect(member['room']).toMatchObject({ state: 'fine', found: text('lets you in as a member') });
    const stranger = await examine({ server: address(), account: eve, room: jid });
    expect(stranger['room']).toMatchObject({ state: 'broken', found: text('for members only, and you are none') });
  });

  test('a room that hides who is in it is broken, a moderated one weak', async () => {
    const account = await prosody.account('ann');
    const change = async (jid: string, field: string, value: string) => {
      const entry = (name: string, text: string) => xml('field', { var: name }, xml('value', {}, text));
      const type = entry('FORM_TYPE', `${MUC_NS}#roomconfig`);
      const form = xml('x', { xmlns: 'jabber:x:data', type: 'submit' }, type, entry(field, value));
      await owner.request(jid, 'set', xml('query', { xmlns: `${MUC_NS}#owner` }, form));
    };
    const hidden = await room('hidden');
    await change(hidden, 'muc#roomconfig_whois', 'moderators');
    const moderated = await room('moderated');
    await change(moderated, 'muc#roomconfig_moderatedroom', '1');
    const locked = await room('locked');
    await change(locked, 'muc#roomconfig_roomsecret', 'sesame');
    const look = async (jid: string) => (await examine({ server: address(), account, room: jid }))['room'];
    expect(await look(hidden)).toMatchObject({ state: 'broken', found: text('hides who is in it') });
    expect(await look(moderated)).toMatchObject({ state: 'weak', found: text('is moderated') });
    expect(await look(locked)).toMatchObject({ state: 'broken', found: text('wants a password') });
  });

  test('another certificate than the promised one: broken, and no password goes there', async () => {
    const account = await prosody.account('ann');
    const other = `${'AB:'.repeat(31)}AB`;
    await using proxy = await startFaultProxy({ port: prosody.server.port });
    const found = await examine({ server: address({ port: proxy.port, fingerprint: other }), account });
    expect(found['TLS']).toMatchObject({ state: 'broken', found: text('another certificate') });
    expect(found['login']).toMatchObject({ state: 'skipped', found: text('see TLS') });
    expect(proxy.arrivals).toHaveLength(2); // reach and TLS, no login
  });

  test('a self-signed certificate without a promise is not trusted', async () => {
    const found = await examine({ server: address({ fingerprint: undefined }) });
    expect(found['TLS']).toMatchObject({ state: 'broken', found: text('not trusted') });
    expect(found['TLS']?.todo).toContain(prosody.server.fingerprint);
  });
});

describe('with servers that fail', () => {
  test('nobody listens: broken, with the rest pointing there', async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    const { port } = holder.address() as { port: number };
    await new Promise((resolve) => holder.close(resolve));
    const account = { username: 'ann', password: 'x' };
    const found = await examine({ server: address({ port }), account, room: 'a@b' });
    expect(found['server']).toMatchObject({ state: 'broken', found: text('ECONNREFUSED') });
    for (const name of ['TLS', 'login', 'clock', 'room'])
      expect(found[name]).toMatchObject({ state: 'skipped', found: text('see server') });
  });

  test('a mute server is given up after a deadline', async () => {
    const clock = virtualClock();
    await using proxy = await startFaultProxy({ port: prosody.server.port });
    proxy.mute(true);
    const found = examine({ server: address({ port: proxy.port }) }, { clock });
    await vi.waitFor(() => expect(proxy.fromClients.length).toBeGreaterThan(0), soon); // its TLS hello
    clock.advance(60_000);
    expect((await found)['server']).toMatchObject({ state: 'fine' });
    expect((await found)['TLS']).toMatchObject({ state: 'broken', found: 'no answer within 15 s' });
  });

  test('a server that closes at once does not speak TLS', async () => {
    await using proxy = await startFaultProxy({ port: prosody.server.port });
    proxy.refuse(true);
    const found = await examine({ server: address({ port: proxy.port }) });
    expect(found['server']).toMatchObject({ state: 'fine' });
    expect(found['TLS']).toMatchObject({ state: 'broken', todo: text('direct TLS') });
  });

  test('a server that wants the password in plain is refused, and never gets it', async () => {
    await using server = await startFakeServer((connection) => greet(connection, ['PLAIN']));
    const { port, domain, fingerprint } = server;
    const account = { username: 'ann', password: 'open sesame' };
    const found = await examine({ server: address({ port, domain, fingerprint }), account });
    expect(found['login']).toMatchObject({ state: 'broken', found: text('no login that is safe (PLAIN)') });
    for (const { received } of server.connections) expect(received).not.toContain('<auth');
  });
});

describe('without an account', () => {
  const invitation = async () => {
    const { host, port, domain, fingerprint } = prosody.server;
    const room = `open@${prosody.server.mucService}`;
    const terms = { nick: 'owner', expires: Date.now() + 3_600_000, uses: 1, bytesPerSecond: 1_000_000 };
    const inviter = await openDevice(join(folder, 'inviter'));
    return encodeInvitation(inviter, { host, port, domain, fingerprint, room, token: 'not-to-be-used', ...terms });
  };

  test('an invitation is good for reach and TLS; nothing is registered or written', async () => {
    const found = await examine({}, { invitation: await invitation() });
    expect(found['server']).toMatchObject({ state: 'fine' });
    expect(found['TLS']).toMatchObject({ state: 'fine' });
    expect(found['login']).toMatchObject({ state: 'skipped', found: text('a doctor registers nothing') });
    expect(await readdir(folder)).not.toContain('state');
  });

  test('the account that this home has is used: of the invitation, or of the room entered last', async () => {
    const line = await invitation();
    const rooms = openRooms(join(folder, 'state'));
    await rooms.save({ version: 2, invitation: line, ...(await prosody.account('ann')) });
    const invited = await examine({}, { invitation: line });
    expect(invited['login']).toMatchObject({ state: 'fine', found: text('ann@') });
    expect((await examine({}))['server']).toMatchObject({ state: 'skipped' });
    await rooms.makeCurrent(decodeInvitation(line));
    expect((await examine({}))['login']).toMatchObject({ state: 'fine', found: text('ann@') });
  });

  test('nothing configured: skipped, not broken', async () => {
    const found = await examine({});
    for (const name of ['server', 'TLS', 'login', 'clock', 'room', 'STUN', 'TURN'])
      expect(found[name]).toMatchObject({ state: 'skipped' });
  });
});

describe('STUN and TURN', () => {
  const KEY = { username: 'ann', realm: 'relay.example', password: 'secret' };
  const challenge = (request: Buffer, nonce: string, code = 401) =>
    reply(request, 'error', [errorAttribute(code, 'No'), attribute(0x0014, KEY.realm), attribute(0x0015, nonce)]);

  /** A relay as RFC 8656 has it; its first nonce is stale at once. */
  const startRelay = () =>
    startStunServer((request) => {
      if (!request.includes('n-')) return [challenge(request, 'n-1')];
      if (request.includes('n-1')) return [challenge(request, 'n-2', 438)];
      if (!isSignedBy(request, KEY)) return [challenge(request, 'n-2')];
      return [reply(request, 'success', [addressAttribute(0x0016, '192.0.2.9', 50_000)], KEY)];
    });

  test('a STUN server says how we are seen, each in its own line', async () => {
    await using server = await startStunServer((request) => [
      reply(request, 'success', [addressAttribute(0x0020, '192.0.2.1', 4000)]),
    ]);
    const one = `127.0.0.1:${server.port}`;
    const found = await examine({ iceServers: [`stun:${one}`, 'turns:127.0.0.1:1', 'nonsense:secret'] });
    expect(found[`STUN: ${one}`]).toMatchObject({ state: 'fine', found: 'sees this machine as 192.0.2.1:4000' });
    expect(found['TURN: 127.0.0.1:1']).toMatchObject({ state: 'weak', found: text('does not speak') });
    expect(found['STUN']).toMatchObject({ state: 'broken', found: 'entry 3 of iceServers is not a server' });
    expect(JSON.stringify(found)).not.toContain('secret');
  });

  test('a relay is really lent, and given back', async () => {
    await using relay = await startRelay();
    const found = await examine({ iceServers: [`turn:ann:secret@127.0.0.1:${relay.port}`] });
    expect(found[`TURN: 127.0.0.1:${relay.port}`]).toMatchObject({
      state: 'fine',
      found: 'lent the relay 192.0.2.9:50000 to ann',
    });
    const [last] = relay.heard.slice(-1);
    expect(last?.readUInt16BE(0)).toBe(0x0004); // refresh,
    expect(last?.includes(Buffer.from('000d000400000000', 'hex'))).toBe(true); // for zero seconds
  });

  test('a wrong password, or none, is broken and says so without showing it', async () => {
    await using relay = await startRelay();
    const name = `TURN: 127.0.0.1:${relay.port}`;
    const wrong = await examine({ iceServers: [`turn:ann:hunter2@127.0.0.1:${relay.port}`] });
    expect(wrong[name]).toMatchObject({ state: 'broken', found: text('401'), todo: text('user and password') });
    expect(JSON.stringify(wrong)).not.toContain('hunter2');
    const none = await examine({ iceServers: [`turn:127.0.0.1:${relay.port}`] });
    expect(none[name]).toMatchObject({ state: 'broken', found: text('no user and password') });
  });

  test('a relay for everybody is weak, a mute one broken', async () => {
    await using free = await startStunServer((request) => [
      reply(request, 'success', [addressAttribute(0x0016, '192.0.2.9', 50_000)]),
    ]);
    const open = await examine({ iceServers: [`turn:a:b@127.0.0.1:${free.port}`] });
    expect(open[`TURN: 127.0.0.1:${free.port}`]).toMatchObject({ state: 'weak', found: text('everybody') });
    await using mute = await startStunServer(() => []);
    const clock = virtualClock();
    const found = examine({ iceServers: [`turn:a:b@127.0.0.1:${mute.port}`] }, { clock });
    await vi.waitFor(() => expect(mute.heard).toHaveLength(1), soon);
    clock.advance(3000);
    expect((await found)[`TURN: 127.0.0.1:${mute.port}`]).toMatchObject({
      state: 'broken',
      found: text('no valid answer'),
    });
  });
});

describe('the command', () => {
  async function kith(...args: string[]) {
    const child = startChild(process.execPath, [MAIN, 'doctor', ...args], {
      env: {
        PATH: folder,
        TMPDIR: folder,
        XDG_RUNTIME_DIR: folder,
        XDG_CONFIG_HOME: folder,
        XDG_STATE_HOME: folder,
        XDG_CACHE_HOME: folder,
      },
    });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream]?.on('data', (chunk: Buffer) => (output[stream] += chunk.toString()));
    const { exitCode } = await child;
    return { code: exitCode, ...output };
  }

  test('one JSON object, exit code 1 where something is broken: there is no QEMU on this path', async () => {
    const { code, stdout, stderr } = await kith('--json');
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: CheckReport[] };
    expect(ok).toBe(false);
    expect(checks.find(({ name }) => name === 'QEMU')).toMatchObject({ state: 'broken', todo: text('apt install') });
  });

  test('text in the order of the table, the account from configuration and password file', async () => {
    const { password } = await prosody.account('ann');
    const secret = join(folder, 'secret');
    await writeFile(secret, password, { mode: 0o600 });
    const { host, port, domain, fingerprint } = address();
    const flags = ['--jid', `ann@${domain}`, '--password-file', secret, '--host', host, '--port', String(port)];
    const { stdout, stderr } = await kith(
      ...flags,
      '--fingerprint',
      fingerprint ?? '',
      '--room',
      `open@rooms.${domain}`,
    );
    expect(stderr).toBe('');
    const order = ['QEMU', 'qemu-img', 'disk', 'memory', 'server', 'TLS', 'login', 'clock', 'room', 'STUN', 'TURN'];
    const names = [...stdout.matchAll(/^(?:fine|weak|broken|skipped) +([^:]+):/gm)].map(([, name]) => name);
    expect(names.filter((name) => order.includes(String(name)))).toEqual(order);
    expect(stdout).toMatch(/^fine {4}login: ann@/m);
    expect(stdout).toMatch(/^broken {2}QEMU: .*\n {10}costs: .*\n {10}to do: /m);
    expect(stdout).toMatch(/\d+ fine, \d+ weak, \d+ broken, \d+ skipped\n$/);
    expect(stdout).not.toContain(password);
  });
});
