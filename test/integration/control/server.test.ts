/** The local API over a real unix socket: what honest clients get, and what hostile ones cannot do. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { KithError } from '../../../src/base/errors.ts';
import { createLog } from '../../../src/base/log.ts';
import { serveControl } from '../../../src/control/server.ts';
import { base64, fakeApi, peerStatus, serveFakePeer, tempFolder, type TempFolder } from '../../harness/fake-peer.ts';
import { holdings, untilHolding, type Holdings } from '../../harness/leaks.ts';
import { rawClient } from '../../harness/raw-client.ts';

let folder: TempFolder;
let before: Holdings;
beforeEach(async () => {
  before = holdings();
  folder = await tempFolder();
});
afterEach(async () => {
  await folder[Symbol.asyncDispose]();
  await untilHolding(before);
});

const never = () => new Promise<never>(() => {});
const line = (message: object) => `${JSON.stringify(message)}\n`;
const exec = (id: number) => line({ id, method: 'exec', params: { guest: 'w', command: ['true'], timeoutSeconds: 1 } });

/** A log, and a promise of its first warning. */
function warnings() {
  const { promise, resolve } = Promise.withResolvers<string>();
  return { first: promise, log: createLog({ level: 'warn', format: 'json', write: resolve }) };
}

test('a request is answered under its id, and only the owner may open the socket', async () => {
  await using peer = await serveFakePeer(folder.path, 'a', { status: async () => peerStatus('a') });
  expect(statSync(peer.socket).mode & 0o777).toBe(0o600);
  await using client = await rawClient(peer.socket);
  client.say(line({ id: 7, method: 'status' }));
  expect(await client.next()).toEqual({ id: 7, result: peerStatus('a') });
  client.say(line({ id: 8, method: 'status', params: {} }));
  expect(await client.next()).toMatchObject({ id: 8 });
});

test('a request in many pieces and many requests in one piece are all read', async () => {
  await using peer = await serveFakePeer(folder.path, 'a', { status: async () => peerStatus('a') });
  await using client = await rawClient(peer.socket);
  client.socket.setNoDelay(true);
  const text = line({ id: 1, method: 'status' });
  for (const letter of text.slice(0, -1)) client.say(letter);
  client.say(`\n${line({ id: 2, method: 'status' })}${line({ id: 3, method: 'status' })}`);
  for (const id of [1, 2, 3]) expect(await client.next()).toMatchObject({ id });
});

test('what cannot be answered is refused with a reason, and the connection stays', async () => {
  const failures = {
    status: async () => Promise.reject(new TypeError('a fault of ours')),
    down: async () => Promise.reject(new KithError({ code: 'job.no', message: 'no', hint: 'later', retry: 'later' })),
  };
  await using peer = await serveFakePeer(folder.path, 'a', failures);
  await using client = await rawClient(peer.socket);
  const refused: [object, string][] = [
    [{ method: 'reboot' }, 'control.no-method'],
    [{ method: 'constructor' }, 'control.no-method'],
    [{ method: '__proto__' }, 'control.no-method'],
    [{ method: 'log', params: {} }, 'control.params'],
    [{ method: 'log', params: { guest: 'w', offset: -1 } }, 'control.params'],
    [{ method: 'type', params: { guest: 'w', data: 'x'.repeat(8193) } }, 'control.params'],
    [{ method: 'exec', params: { guest: 'w', command: [], timeoutSeconds: 1 } }, 'control.params'],
    [{ method: 'status', params: { more: 1 } }, 'control.params'],
    [{ method: 'status' }, 'internal'],
  ];
  for (const [id, [request, code]] of refused.entries()) {
    client.say(line({ id, ...request }));
    expect(await client.next(), JSON.stringify(request).slice(0, 80)).toMatchObject({ id, error: { code } });
  }
  client.say(line({ id: 99, method: 'down' }));
  expect(await client.next()).toEqual({
    id: 99,
    error: { code: 'job.no', message: 'no', hint: 'later', retry: 'later' },
  });
});

test.each([
  ['no JSON', 'hello\n', 'control.bad-request'],
  ['no object', '[1]\n', 'control.bad-request'],
  ['no id', '{"method":"status"}\n', 'control.bad-request'],
  ['an id that is no number', '{"id":"1","method":"status"}\n', 'control.bad-request'],
  ['unknown fields', '{"id":1,"method":"status","x":1}\n', 'control.bad-request'],
  ['an HTTP request', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'control.bad-request'],
  ['zeros', Buffer.alloc(10).fill('\0\n'), 'control.bad-request'],
  ['a line that never ends', 'x'.repeat(70_000), 'control.long-line'],
  [
    'a long line that is well-formed',
    line({ id: 1, method: 'status', params: { x: 'x'.repeat(70_000) } }),
    'control.long-line',
  ],
])('%s gets one error and the end of the connection', async (_, text, code) => {
  await using peer = await serveFakePeer(folder.path, 'a', { status: async () => peerStatus('a') });
  await using client = await rawClient(peer.socket);
  client.say(text);
  expect(await client.next()).toMatchObject({ id: null, error: { code } });
  expect(await client.next()).toBeUndefined();
  await using other = await rawClient(peer.socket);
  other.say(line({ id: 1, method: 'status' }));
  expect(await other.next()).toMatchObject({ id: 1, result: {} });
});

test('sixteen requests of a client may be under way, not more', async () => {
  let running = 0;
  const full = Promise.withResolvers<void>();
  await using peer = await serveFakePeer(folder.path, 'a', {
    exec: () => {
      if (++running === 16) full.resolve();
      return never();
    },
  });
  await using client = await rawClient(peer.socket);
  for (let id = 0; id < 16; id++) client.say(exec(id));
  await full.promise;
  client.say(exec(16));
  expect(await client.next()).toMatchObject({ id: 16, error: { code: 'control.busy', retry: 'later' } });
  expect(running).toBe(16);
});

test('thirty-two programs may be connected, the next one is told so', async () => {
  await using peer = await serveFakePeer(folder.path, 'a');
  await using stack = new AsyncDisposableStack();
  for (let count = 0; count < 32; count++) {
    const client = stack.use(await rawClient(peer.socket));
    client.say(line({ id: 1, method: 'nothing' }));
    await client.next(); // accepted, not only queued by the kernel
  }
  const late = stack.use(await rawClient(peer.socket));
  expect(await late.next()).toMatchObject({ id: null, error: { code: 'control.busy' } });
  expect(await late.next()).toBeUndefined();
});

test('a command whose asker has left is abandoned', async () => {
  const started = Promise.withResolvers<AbortSignal>();
  await using peer = await serveFakePeer(folder.path, 'a', {
    exec: (_, options) => {
      if (options?.signal) started.resolve(options.signal);
      return never();
    },
  });
  await using client = await rawClient(peer.socket);
  client.say(exec(1));
  const signal = await started.promise;
  expect(signal.aborted).toBe(false);
  const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  client.socket.destroy();
  await aborted;
});

test('who asks for more than it reads is dropped', async () => {
  const { log, first } = warnings();
  const large = base64(Buffer.alloc(16 * 1024 * 1024));
  await using peer = await serveFakePeer(
    folder.path,
    'a',
    { exec: async () => ({ exitCode: 0, stdout: large, stderr: '' }) },
    { log },
  );
  await using client = await rawClient(peer.socket);
  client.socket.pause();
  client.say([1, 2, 3, 4].map(exec).join(''));
  expect(JSON.parse(await first)).toMatchObject({
    event: 'control client dropped',
    reason: 'it does not read its answers',
  });
});

test('all answers that wait together are bounded too', async () => {
  const { log, first } = warnings();
  const large = base64(Buffer.alloc(16 * 1024 * 1024)); // twice per answer: one fits a connection, three not the peer
  const answer = { exitCode: 0, stdout: large, stderr: large };
  await using peer = await serveFakePeer(folder.path, 'a', { exec: async () => answer }, { log });
  await using stack = new AsyncDisposableStack();
  for (let count = 0; count < 3; count++) {
    const client = stack.use(await rawClient(peer.socket));
    client.socket.pause();
    client.say(exec(1));
  }
  expect(JSON.parse(await first)).toMatchObject({ reason: 'it does not read its answers', bytes: 0 });
});

test('who stops reading is dropped, also with little to read', async () => {
  const { log, first } = warnings();
  const answer = { exitCode: 0, stdout: base64(Buffer.alloc(4 * 1024 * 1024)), stderr: '' };
  await using peer = await serveFakePeer(folder.path, 'a', { exec: async () => answer }, { log, stallMs: 50 });
  await using client = await rawClient(peer.socket);
  client.socket.pause();
  client.say(exec(1));
  expect(JSON.parse(await first)).toMatchObject({ event: 'control client dropped', reason: 'it stopped reading' });
});

test('the largest honest answer arrives whole', async () => {
  const [stdout, stderr] = [base64(Buffer.alloc(16 * 1024 * 1024, 1)), base64(Buffer.alloc(16 * 1024 * 1024, 2))];
  await using peer = await serveFakePeer(folder.path, 'a', { exec: async () => ({ exitCode: 3, stdout, stderr }) });
  await using client = await rawClient(peer.socket);
  client.say(exec(1));
  const { result } = (await client.next()) as { result: { exitCode: number; stdout: string; stderr: string } };
  expect([result.exitCode, result.stdout === stdout, result.stderr === stderr]).toEqual([3, true, true]);
});

test('the end of the server closes every connection and removes the socket', async () => {
  const peer = await serveFakePeer(folder.path, 'a', { exec: never });
  await using client = await rawClient(peer.socket);
  client.say(exec(1));
  await peer[Symbol.asyncDispose]();
  await client.closed;
  expect(existsSync(peer.socket)).toBe(false);
  await peer[Symbol.asyncDispose](); // twice is once
});

test('the answer to down still goes out when down ends the server at once', async () => {
  const end = new AbortController();
  const path = join(folder.path, 'sock');
  const down = async () => {
    end.abort();
    return {};
  };
  await using _server = await serveControl({ path, api: fakeApi({ down }), log: warnings().log, signal: end.signal });
  await using client = await rawClient(path);
  client.say(line({ id: 1, method: 'down' }));
  expect(await client.next()).toEqual({ id: 1, result: {} });
  await client.closed;
});

test('a path that no socket can have, or that is taken, is an error with a next step', async () => {
  const options = { api: fakeApi(), log: warnings().log };
  await expect(serveControl({ ...options, path: join(folder.path, 'x'.repeat(120)) })).rejects.toMatchObject({
    code: 'control.long-path',
    hint: expect.stringContaining('XDG_RUNTIME_DIR') as string,
  });
  await expect(serveControl({ ...options, path: join(folder.path, 'none', 'sock') })).rejects.toMatchObject({
    code: 'control.no-socket',
  });
  await expect(
    serveControl({ ...options, path: join(folder.path, 'sock'), signal: AbortSignal.abort() }),
  ).rejects.toThrow('abort');
  await using peer = await serveFakePeer(folder.path, 'a');
  await expect(serveControl({ ...options, path: peer.socket })).rejects.toMatchObject({ code: 'control.no-socket' });
});
