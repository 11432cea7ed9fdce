/** The client of the local API against real peers, faulty peers and no peers; following a log; choosing a peer. */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { mkdir, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { LogPage } from '../../../src/control/api.ts';
import { choosePeer, findPeers } from '../../../src/control/choose.ts';
import { connectControl } from '../../../src/control/client.ts';
import { isLive, openPeerDirectory } from '../../../src/control/directory.ts';
import { followLog, tailOffset } from '../../../src/control/follow.ts';
import { startChild } from '../../../src/base/process.ts';
import {
  base64,
  guestStatus,
  peerStatus,
  serveFakePeer,
  tempFolder,
  type TempFolder,
} from '../../harness/fake-peer.ts';
import { holdings, untilHolding, type Holdings } from '../../harness/leaks.ts';

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

/** What it fails with; awaited later, never unhandled meanwhile. */
const errorOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

/** A socket that answers each chunk with what `reply` says. */
async function faultyPeer(path: string, reply: (text: string, socket: Socket) => void): Promise<AsyncDisposable> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk) => reply(chunk.toString(), socket));
  });
  server.listen(path);
  await once(server, 'listening');
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

test('each method goes over and comes back', async () => {
  const asked: unknown[] = [];
  await using peer = await serveFakePeer(folder.path, 'a', {
    status: async () => peerStatus('a'),
    exec: async (params) => {
      asked.push(params);
      return { exitCode: 9, stdout: base64('out'), stderr: base64('err') };
    },
    log: async (params) => {
      asked.push(params);
      return { data: base64('boot'), offset: 5, total: 9 };
    },
    type: async (params) => {
      asked.push(params);
      return {};
    },
    down: async () => ({}),
  });
  await using api = await connectControl(peer.socket);
  const exec = { guest: 'w', command: ['a', 'ü\n'], timeoutSeconds: 5 };
  expect(await api.status()).toEqual(peerStatus('a'));
  expect(await api.exec(exec)).toEqual({ exitCode: 9, stdout: base64('out'), stderr: base64('err') });
  expect(await api.log({ guest: 'w', offset: 5 })).toEqual({ data: base64('boot'), offset: 5, total: 9 });
  expect(await api.type({ guest: 'w', data: 'eA==' })).toEqual({});
  expect(await api.down()).toEqual({});
  expect(asked).toEqual([exec, { guest: 'w', offset: 5 }, { guest: 'w', data: 'eA==' }]);
});

test('answers find their own questions, whatever their order', async () => {
  const slow = Promise.withResolvers<void>();
  await using peer = await serveFakePeer(folder.path, 'a', {
    exec: async ({ command }) => {
      if (command[0] === 'slow') await slow.promise;
      return { exitCode: command[0] === 'slow' ? 1 : 2, stdout: '', stderr: '' };
    },
  });
  await using api = await connectControl(peer.socket);
  const first = api.exec({ guest: 'w', command: ['slow'], timeoutSeconds: 5 });
  expect(await api.exec({ guest: 'w', command: ['quick'], timeoutSeconds: 5 })).toMatchObject({ exitCode: 2 });
  slow.resolve();
  expect(await first).toMatchObject({ exitCode: 1 });
});

test('an error of the peer arrives with its code, words and hint', async () => {
  await using peer = await serveFakePeer(folder.path, 'a');
  await using api = await connectControl(peer.socket);
  await expect(api.down()).rejects.toMatchObject({
    code: 'test.no-answer',
    message: 'the fake peer has no down',
    hint: 'give it one',
  });
});

test('nobody there, gone while asked, closed, aborted: each is a clear error', async () => {
  const path = join(folder.path, 'none');
  await expect(connectControl(path)).rejects.toMatchObject({
    code: 'control.no-peer',
    hint: expect.stringContaining('kith peer') as string,
  });

  const peer = await serveFakePeer(folder.path, 'a', { exec: never });
  await using api = await connectControl(peer.socket);
  const lost = errorOf(api.exec({ guest: 'w', command: ['x'], timeoutSeconds: 1 }));
  const stop = new AbortController();
  await using other = await connectControl(peer.socket, { signal: stop.signal });
  const aborted = errorOf(other.exec({ guest: 'w', command: ['x'], timeoutSeconds: 1 }));
  stop.abort(new Error('enough'));
  expect(await aborted).toMatchObject({ message: 'enough' });
  await expect(other.status()).rejects.toThrow('enough');
  await peer[Symbol.asyncDispose]();
  expect(await lost).toMatchObject({ code: 'control.peer-gone' });
  await expect(api.status()).rejects.toMatchObject({ code: 'control.peer-gone' });
});

test.each([
  ['no JSON', 'hello\n', 'control.bad-answer'],
  ['no object', '3\n', 'control.bad-answer'],
  ['a result that is no object', '{"id":1,"result":3}\n', 'control.bad-answer'],
  ['neither result nor error', '{"id":1}\n', 'control.bad-answer'],
  ['an error without a code', '{"id":1,"error":{"message":"x"}}\n', 'control.bad-answer'],
  ['an answer to nothing', '{"id":null}\n', 'control.bad-answer'],
  ['a refusal of the connection', '{"id":null,"error":{"code":"control.busy","message":"full"}}\n', 'control.busy'],
])('a peer that says %s is not believed', async (_, text, code) => {
  const path = join(folder.path, 'sock');
  await using _peer = await faultyPeer(path, (_request, socket) => socket.write(text));
  await using api = await connectControl(path);
  await expect(api.status()).rejects.toMatchObject({ code });
});

test('a peer that does not answer is given up, and its late answer does no harm', async () => {
  const path = join(folder.path, 'sock');
  const requests: string[] = [];
  await using _peer = await faultyPeer(path, (request, socket) => {
    requests.push(request);
    if (requests.length === 2) socket.write('{"id":1,"result":{"late":true}}\n{"id":2,"result":{"peer":2}}\n');
  });
  await using api = await connectControl(path, { answerMs: 20 });
  await expect(api.status()).rejects.toMatchObject({ code: 'control.no-answer', retry: 'later' });
  await using patient = await connectControl(path);
  const [first, second] = [patient.status(), patient.down()];
  expect(await first).toEqual({ late: true });
  expect(await second).toEqual({ peer: 2 });
});

/** A guest that prints one more of `pieces` each time it has been read to the end. */
function logOf(pieces: readonly string[], pageBytes: number) {
  let printed = pieces[0] ?? '';
  let next = 1;
  return async ({ offset }: { readonly offset: number }): Promise<LogPage> => {
    if (offset >= printed.length && next < pieces.length) printed += pieces[next++];
    const from = Math.min(offset, printed.length);
    return { data: base64(printed.slice(from, from + pageBytes)), offset: from, total: printed.length };
  };
}

test('a log is read page by page to its end, and followed beyond it on request', async () => {
  const signal = AbortSignal.timeout(50_000);
  const once = [];
  for await (const { data } of followLog({ log: logOf(['one two '], 3) }, 'w', { signal })) once.push(data.toString());
  expect(once).toEqual(['one', ' tw', 'o ']);

  const leave = new AbortController();
  let text = '';
  for await (const { data } of followLog({ log: logOf(['one ', 'two ', 'three'], 3) }, 'w', {
    signal: leave.signal,
    follow: true,
  })) {
    text += data.toString();
    if (text.endsWith('three')) leave.abort();
  }
  expect(text).toBe('one two three');
  expect(await tailOffset({ log: logOf(['0123456789'], 3) }, 'w', 4)).toBe(6);
  expect(await tailOffset({ log: logOf(['012'], 3) }, 'w', 4)).toBe(0);
});

test('the log of a guest that was started anew begins again; an empty page ends one that is not followed', async () => {
  const pages: LogPage[] = [
    { data: base64('first life'), offset: 0, total: 10 },
    { data: '', offset: 3, total: 3 },
    { data: base64('new'), offset: 0, total: 3 },
  ];
  const offsets: number[] = [];
  const leave = new AbortController();
  const log = async ({ offset }: { readonly offset: number }) => {
    offsets.push(offset);
    const page = pages[offsets.length - 1];
    if (!page) throw new Error('asked once too often');
    return page;
  };
  let text = '';
  for await (const { data } of followLog({ log }, 'w', { signal: leave.signal, follow: true })) {
    text += data.toString();
    if (text.endsWith('new')) leave.abort();
  }
  expect([text, offsets]).toEqual(['first lifenew', [0, 10, 0]]);

  const stuck = [];
  const empty = async () => ({ data: '', offset: 0, total: 99 });
  for await (const piece of followLog({ log: empty }, 'w', { signal: leave.signal })) stuck.push(piece);
  for await (const piece of followLog({ log: empty }, 'w', { signal: new AbortController().signal })) stuck.push(piece);
  expect(stuck).toEqual([]);
});

test('peers that run are found; folders of dead ones and strangers are passed over', async () => {
  expect(await findPeers(join(folder.path, 'nothing'))).toEqual([]);
  await mkdir(join(folder.path, 'dead'));
  await writeFile(join(folder.path, 'dead', 'control.sock'), '');
  await mkdir(join(folder.path, 'Not A Name'));
  await using _b = await serveFakePeer(folder.path, 'b', { status: async () => peerStatus('b') });
  await using _a = await serveFakePeer(folder.path, 'a', { status: async () => peerStatus('a') });
  await using _ill = await serveFakePeer(folder.path, 'ill');
  expect((await findPeers(folder.path)).map(({ name }) => name)).toEqual(['a', 'b']);
});

test('a name is taken at its word, and nobody else answers for it', async () => {
  await using a = await serveFakePeer(folder.path, 'a', { status: async () => peerStatus('a') });
  await using _b = await serveFakePeer(folder.path, 'b', { status: async () => peerStatus('b', 'initiator') });
  expect(await choosePeer(folder.path, 'a')).toEqual({ name: 'a', socket: a.socket });
  expect(await choosePeer(folder.path, undefined)).toMatchObject({ name: 'b' });
  await expect(choosePeer(folder.path, 'c')).rejects.toMatchObject({
    code: 'control.no-peer',
    hint: 'these run: a, b',
  });
  await expect(choosePeer(folder.path, '../a')).rejects.toMatchObject({ code: 'control.no-peer' });
});

test('the only one that hosts the guest is meant when a guest is named', async () => {
  const guests = [guestStatus('worker-1'), guestStatus('worker-2', { state: 'unknown' })];
  const mirrored = [guestStatus('worker-1', { state: 'unknown' }), guestStatus('worker-2')];
  await using _a = await serveFakePeer(folder.path, 'a', { status: async () => peerStatus('a', 'worker', { guests }) });
  await using _b = await serveFakePeer(folder.path, 'b', {
    status: async () => peerStatus('b', 'worker', { guests: mirrored }),
  });
  expect(await choosePeer(folder.path, undefined, { guest: 'worker-2' })).toMatchObject({ name: 'b' });
  await expect(choosePeer(folder.path, undefined, { guest: 'worker-3' })).rejects.toMatchObject({
    code: 'control.which-peer',
  });
});

test('a name is refused while its peer lives, and free again when the peer is gone', async () => {
  {
    await using directory = await openPeerDirectory(folder.path, 'a');
    await using _peer = await serveFakePeer(folder.path, 'a');
    await expect(openPeerDirectory(folder.path, 'a')).rejects.toMatchObject({ code: 'control.name-taken' });
    expect(await isLive(directory.socket)).toBe(true);
  }
  await using _again = await openPeerDirectory(folder.path, 'a');
});

test('what a killed process left behind is reclaimed', async () => {
  const directory = new URL('../../../src/control/directory.ts', import.meta.url).href;
  const script = `
    import { createServer } from 'node:net';
    import { openPeerDirectory } from ${JSON.stringify(directory)};
    const { socket } = await openPeerDirectory(process.argv[1], 'a');
    createServer().listen(socket, () => console.log(socket));
  `;
  const child = startChild(process.execPath, ['--input-type=module', '-e', script, folder.path]);
  if (!child.stdout) throw new TypeError('no stdout');
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const socket = line.toString().trim();
  expect(await isLive(socket)).toBe(true);
  await expect(openPeerDirectory(folder.path, 'a')).rejects.toMatchObject({ code: 'control.name-taken' });
  child.kill('SIGKILL');
  await child;
  await using again = await openPeerDirectory(folder.path, 'a');
  expect(again.socket).toBe(socket);
  expect(await isLive(socket)).toBe(false);
});
