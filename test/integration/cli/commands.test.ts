/** Real `kith` processes against a served fake peer: what they print, byte for byte, and how they exit. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { startChild, type ChildOptions } from '../../../src/base/process.ts';
import { KithError } from '../../../src/base/errors.ts';
import { commands } from '../../../src/cli/commands.ts';
import type { PeerApi } from '../../../src/control/api.ts';
import {
  base64,
  guestStatus,
  peerStatus,
  serveFakePeer,
  tempFolder,
  type Served,
  type TempFolder,
} from '../../harness/fake-peer.ts';
import { holdings, untilHolding, type Holdings } from '../../harness/leaks.ts';

const MAIN = new URL('../../../src/cli/main.ts', import.meta.url).pathname;

let folder: TempFolder;
let runtime: string;
let before: Holdings;
beforeAll(async () => {
  folder = await tempFolder();
  runtime = `${folder.path}/kith`;
});
afterAll(() => folder[Symbol.asyncDispose]());
beforeEach(() => {
  before = holdings();
});
afterEach(() => untilHolding(before));

function start(args: readonly string[], options: ChildOptions = {}) {
  const child = startChild(process.execPath, [MAIN, ...args], {
    ...options,
    env: { XDG_RUNTIME_DIR: folder.path, TMPDIR: folder.path },
  });
  const output = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream]?.on('data', (chunk: Buffer) => (output[stream] = Buffer.concat([output[stream], chunk])));
  }
  const ended = child.then(({ exitCode }) => ({
    code: exitCode,
    stdout: output.stdout.toString(),
    stderr: output.stderr.toString(),
    bytes: output.stdout,
  }));
  return { child, output, ended };
}

const kith = (...args: string[]) => start(args).ended;

const errorLine = (stdout: string) =>
  JSON.parse(stdout) as { ok: boolean; error: { code: string; message: string; hint: string } };

test('kith ps: one line of JSON, or a page of text', async () => {
  const status = peerStatus('a', 'initiator', { guests: [guestStatus('worker-1')] });
  await using _peer = await serveFakePeer(runtime, 'a', { status: async () => status });
  const json = await kith('ps', '--json');
  expect(json).toMatchObject({ code: 0, stderr: '', stdout: `${JSON.stringify(status)}\n` });
  const text = await kith('ps', '--peer', 'a');
  expect(text).toMatchObject({ code: 0, stderr: '' });
  expect(text.stdout).toContain('worker-1  worker  02:00:00:00:00:01');
});

test('no peer is exit code 69 with a next step, as text and as JSON', async () => {
  const text = await kith('ps');
  expect(text).toMatchObject({ code: 69, stdout: '' });
  expect(text.stderr).toBe('error: no peer runs on this machine; start one with kith peer, kith worker or kith run\n');
  const json = await kith('exec', '--json', 'w', '--', 'true');
  expect(json).toMatchObject({ code: 69, stderr: '' });
  expect(errorLine(json.stdout)).toMatchObject({
    ok: false,
    error: { code: 'control.no-peer', hint: expect.stringContaining('kith run') as string },
  });
});

test('two workers and no name is exit code 69 and names both', async () => {
  await using _a = await serveFakePeer(runtime, 'a', { status: async () => peerStatus('a') });
  await using _b = await serveFakePeer(runtime, 'b', { status: async () => peerStatus('b') });
  const { code, stderr } = await kith('ps');
  expect([code, stderr]).toEqual([69, 'error: 2 peers run on this machine: a, b; say which one with --peer NAME\n']);
});

test.each([
  [['ps', 'more']],
  [['exec']],
  [['exec', 'worker-1']],
  [['exec', 'worker-1', '--timeout', '0', '--', 'true']],
  [['exec', 'worker-1', 'ls', '-l']],
  [['logs']],
  [['logs', 'a', 'b']],
  [['console']],
  [['console', 'a', '--seconds', 'x']],
  [['down', 'a']],
  [['completion']],
  [['completion', 'tcsh']],
  [['ps', '--nonsense']],
])('wrong words are exit code 64: kith %j', async (args) => {
  const { code, stdout, stderr } = await kith(...args);
  expect([code, stdout]).toEqual([64, '']);
  expect(stderr).toMatch(/^error: .+; .+\n$/);
});

test.each(['ps', 'exec', 'console', 'logs', 'down', 'completion'])(
  'kith %s --help says what it does, with an example',
  async (name) => {
    const command = commands.find((entry) => entry.name === name);
    const { code, stdout, stderr } = await kith(name, '--help');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain(command?.example);
    for (const option of Object.keys(command?.options ?? {})) expect(stdout).toContain(`--${option}`);
  },
);

test('an error that comes from another machine does not steer the terminal', async () => {
  const message = 'no\u001b]0;owned\u0007 \u001b[2J\u009b1m\u202e\nerror: fake';
  const status = () => Promise.reject(new KithError({ code: 'job.refused', message, hint: '\u001b[31mrun' }));
  await using _peer = await serveFakePeer(runtime, 'a', { status });
  expect(await kith('ps', '--peer', 'a')).toMatchObject({ code: 77, stderr: 'error: no ? error: fake; run\n' });
});

test('kith exec passes bytes and exit code through', async () => {
  const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  const large = Buffer.concat(Array.from({ length: 4096 }, () => every)); // 1 MiB: more than a pipe holds
  const asked: unknown[] = [];
  const exec: PeerApi['exec'] = async (params) => {
    asked.push(params);
    return { exitCode: 42, stdout: base64(large), stderr: base64('ü\n') };
  };
  await using _peer = await serveFakePeer(runtime, 'a', { status: async () => peerStatus('a'), exec });
  const plain = await kith('exec', 'worker-1', '--timeout', '7', '--', 'sh', '-c', 'exit 42', '--json');
  expect([plain.code, plain.stderr, plain.bytes.equals(large)]).toEqual([42, 'ü\n', true]);
  expect(asked).toEqual([{ guest: 'worker-1', command: ['sh', '-c', 'exit 42', '--json'], timeoutSeconds: 7 }]);
});

test('kith exec --json says the same as text; a command that a signal ended is 128 and its number', async () => {
  const exec: PeerApi['exec'] = async ({ timeoutSeconds }) => ({
    exitCode: 0,
    signal: 9,
    stdout: base64('ü'),
    stderr: base64(`${timeoutSeconds}`),
  });
  await using _peer = await serveFakePeer(runtime, 'a', { status: async () => peerStatus('a'), exec });
  const { code, stdout } = await kith('exec', '--json', 'worker-1', '--', 'sleep', '9');
  expect([code, JSON.parse(stdout)]).toEqual([137, { exitCode: 0, signal: 9, stdout: 'ü', stderr: '60' }]);
});

test('an error of the peer keeps its code and says whether to try again', async () => {
  const exec = () =>
    Promise.reject(new KithError({ code: 'job.guest-not-up', message: 'not up', hint: 'wait', retry: 'later' }));
  await using _peer = await serveFakePeer(runtime, 'a', { status: async () => peerStatus('a'), exec });
  const { code, stdout } = await kith('exec', '--json', 'w', '--', 'true');
  expect([code, errorLine(stdout).error]).toEqual([75, { code: 'job.guest-not-up', message: 'not up', hint: 'wait' }]);
});

/** A guest that echoes what is typed, and says hello first. */
function echoGuest(hello: string): Pick<PeerApi, 'status' | 'log' | 'type'> & { readonly typed: () => string } {
  let printed = Buffer.from(hello);
  let typed = '';
  return {
    typed: () => typed,
    status: async () => peerStatus('a'),
    log: async ({ offset }) => {
      const from = Math.min(offset, printed.length);
      return { data: base64(printed.subarray(from, from + 1000)), offset: from, total: printed.length };
    },
    type: async ({ data }) => {
      typed += Buffer.from(data, 'base64').toString();
      printed = Buffer.concat([printed, Buffer.from(data, 'base64')]);
      return {};
    },
  };
}

test('kith logs prints all there is, and ends', async () => {
  const text = `${'boot '.repeat(1000)}end`;
  await using _peer = await serveFakePeer(runtime, 'a', echoGuest(text));
  expect(await kith('logs', 'w')).toMatchObject({ code: 0, stdout: text, stderr: '' });
  const json = await kith('logs', 'w', '--json');
  const pieces = json.stdout
    .trim()
    .split('\n')
    .map((piece) => JSON.parse(piece) as { offset: number; text: string });
  expect(pieces.map((piece) => piece.text).join('')).toBe(text);
  expect(pieces.map((piece) => piece.offset)).toEqual([0, 1000, 2000, 3000, 4000, 5000]);
});

test('kith logs --follow goes on until it is told to stop', async () => {
  const guest = echoGuest('hello');
  await using _peer = await serveFakePeer(runtime, 'a', guest);
  const { child, output, ended } = start(['logs', 'w', '--follow']);
  const saw = async (text: string) => {
    while (!output.stdout.includes(text) && child.stdout) await once(child.stdout, 'data');
  };
  await saw('hello');
  await guest.type({ guest: 'w', data: base64(' again') });
  await saw('hello again');
  child.kill('SIGTERM');
  expect((await ended).stdout).toBe('hello again');
});

test('a reader that goes ends the command as SIGPIPE would', async () => {
  const guest = echoGuest('hello');
  await using _peer = await serveFakePeer(runtime, 'a', guest);
  const { child, ended } = start(['logs', 'w', '--follow']);
  if (child.stdout) await once(child.stdout, 'data');
  child.stdout?.destroy();
  await guest.type({ guest: 'w', data: base64(' again') });
  expect(await ended).toMatchObject({ code: 141, stderr: '' });
});

test('a script that never loads: the first SIGTERM asks in vain, the next ends it', async () => {
  const script = `${folder.path}/hangs.ts`;
  await writeFile(script, `console.log('loading'); setInterval(() => {}, 1000); await new Promise(() => {});`);
  const { child, ended } = start(['run', script]);
  if (child.stdout) await once(child.stdout, 'data');
  const timer = setInterval(() => child.kill('SIGTERM'), 50);
  try {
    expect(await ended).toMatchObject({ code: 143 });
  } finally {
    clearInterval(timer);
  }
});

test('kith console types what it is given and prints what comes of it', async () => {
  const guest = echoGuest(`${'x'.repeat(5000)}login: `);
  await using _peer = await serveFakePeer(runtime, 'a', guest);
  const lines = `root\n${'echo ü\n'.repeat(1000)}`;
  const { child, ended } = start(['console', 'w', '--seconds', '1'], { stdin: 'pipe' });
  child.stdin?.end(lines);
  const { code, stdout, stderr } = await ended;
  expect([code, stderr, guest.typed() === lines]).toEqual([0, '', true]);
  expect(stdout).toBe(`${'x'.repeat(2041)}login: ${lines}`);
});

test('kith down returns when nothing of the peer is left', async () => {
  let peer: Served | undefined;
  const down = async () => {
    setImmediate(() => void peer?.[Symbol.asyncDispose]());
    return {};
  };
  peer = await serveFakePeer(runtime, 'a', { status: async () => peerStatus('a'), down });
  expect(await kith('down', '--json')).toMatchObject({ code: 0, stdout: '{"ok":true,"name":"a"}\n', stderr: '' });
  expect(existsSync(dirname(peer.socket))).toBe(false);
});
