/** The embedded server: one door, invitations, errors with a next step, and nothing left of it. */
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { runCommand } from '../../../src/base/process.ts';
import { registerAccount } from '../../../src/xmpp/register.ts';
import { startServer } from '../../../src/xmpp/server.ts';
import { registrationToken } from '../../../src/protocol/tokens.ts';
import { openSession } from '../../../src/xmpp/session.ts';
import { startTestServer, type TestServer } from '../../harness/prosody.ts';
import { codeOf } from '../../harness/xmpp.ts';

let prosody: TestServer;
beforeAll(async () => {
  prosody = await startTestServer();
});
afterAll(() => prosody[Symbol.asyncDispose]());

async function temporaryDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'kith-test-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

test('it listens on one port of one address, and on nothing else', async () => {
  const { pid, port } = prosody.server;
  const { stdout } = await runCommand(
    'sh',
    ['-c', `cat /proc/${pid}/net/tcp /proc/${pid}/net/tcp6; ls -l /proc/${pid}/fd`],
    { timeoutMs: 5000 },
  );
  const inodes = new Set([...stdout.matchAll(/socket:\[(\d+)\]/g)].map((match) => match[1]));
  const listening = stdout
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === '0A' && inodes.has(fields[9]))
    .map((fields) => fields[1]);
  expect(listening).toEqual([`0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`]);
});

test('one token serves as many friends as it is for; wrong, expired, revoked and absent ones nobody', async () => {
  const { server, directory } = prosody;
  const token = await server.createToken({ expires: Date.now() + 3_600_000, uses: 3 });
  const register = (username: string, more: { token?: string; fingerprint?: string } = {}) =>
    codeOf(registerAccount({ ...server, token, username, password: 'pw', ...more }));
  expect([await register('one'), await register('two')]).toEqual(['no error', 'no error']);
  expect(await register('two')).toBe('xmpp.account-taken');
  for (const wrong of ['', 'short', 'f'.repeat(32), `${token}\n`, '../../etc/passwd']) {
    expect(await register('three', { token: wrong })).toBe('invitation.unknown');
  }
  expect(await register('three', { fingerprint: server.fingerprint.replace(/^../, '00') })).toBe('xmpp.certificate');
  expect([await register('three'), await register('four')]).toEqual(['no error', 'invitation.used-up']);
  const past = await server.createToken({ expires: Date.now() - 1000, uses: 3 });
  expect(await register('four', { token: past })).toBe('invitation.expired');
  const withdrawn = await server.createToken();
  expect(await register('four', { token: withdrawn })).toBe('no error');
  await server.revokeToken(withdrawn);
  expect(await register('five', { token: withdrawn })).toBe('invitation.revoked');
  const lines = (await readFile(join(directory, 'registered'), 'utf8')).split('\n');
  expect(lines.filter((line) => line === registrationToken(token))).toHaveLength(3); // a name that was taken cost nothing
});

test('three friends at once for the last place: one gets in', async () => {
  const { server } = prosody;
  const token = await server.createToken({ expires: Date.now() + 3_600_000, uses: 1 });
  const register = (username: string) => codeOf(registerAccount({ ...server, token, username, password: 'pw' }));
  const outcomes = await Promise.all(['swift', 'quick', 'fast'].map(register));
  expect(outcomes.toSorted()).toEqual(['invitation.used-up', 'invitation.used-up', 'no error']);
});

test('a wrong password and an unknown account are told at once, and nothing is retried', async () => {
  const account = await prosody.account('anna');
  const attempt = (more: Partial<Parameters<typeof openSession>[0]>) =>
    codeOf(openSession({ ...prosody.server, ...account, ...more }));
  expect(await attempt({ password: 'wrong' })).toBe('xmpp.auth-failed');
  expect(await attempt({ username: 'nobody' })).toBe('xmpp.auth-failed');
  expect(await attempt({ signal: AbortSignal.abort(new Error('stop')) })).toBe('Error: stop');
});

test('the owner’s account works, and secrets are files of the owner alone', async () => {
  await using session = await openSession({ ...prosody.server, ...prosody.server.adminAccount });
  expect(session.jid).toMatch(/^kith-host@kith\.internal\/kith-[0-9a-f]{12}$/);
  for (const file of ['server.key', 'admin', 'prosody.cfg.lua', 'tokens']) {
    expect([file, (await stat(join(prosody.directory, file))).mode & 0o077]).toEqual([file, 0]);
  }
});

test('a taken port is an error that names it', async () => {
  await using other = await startTestServer();
  await using temporary = await temporaryDirectory();
  const directory = temporary.path;
  const squatter = createServer();
  await new Promise<void>((resolve) => squatter.listen(0, '127.0.0.1', resolve));
  const { port } = squatter.address() as { port: number };
  expect(await codeOf(startServer({ directory, port }))).toBe('xmpp.port-taken');
  expect(await codeOf(startServer({ directory, port: other.server.port }))).toBe('xmpp.port-taken');
  await new Promise((resolve) => squatter.close(resolve));
});

test('without prosody the error says how to get it', async () => {
  vi.stubEnv('PATH', '/nowhere');
  await expect(startServer({ directory: '/nowhere' })).rejects.toMatchObject({
    code: 'xmpp.prosody-missing',
    hint: expect.stringContaining('apt install prosody'),
  });
  vi.unstubAllEnvs();
});

test('a Prosody that dies says its last words', async () => {
  await using temporary = await temporaryDirectory();
  const directory = temporary.path;
  await expect(startServer({ directory, modules: ['"'], domain: '' })).rejects.toMatchObject({
    code: expect.stringMatching(/^xmpp\./),
  });
  await using server = await startServer({ directory });
  process.kill(server.pid, 'SIGKILL');
  expect(await server.closed).toMatch(/prosody was ended by SIGKILL/);
  expect(await readFile(join(directory, 'server.crt'), 'utf8')).toContain('BEGIN CERTIFICATE');
});
