/** `kith shape`, `link` and `capture` as real processes against a served fake peer. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { findProgram, runCommand, startChild } from '../../../src/base/process.ts';
import { KithError } from '../../../src/base/errors.ts';
import type { LinkView, PeerApi } from '../../../src/control/api.ts';
import { enhancedPacket } from '../../../src/net/pcapng.ts';
import {
  base64,
  guestStatus,
  peerStatus,
  serveFakePeer,
  tempFolder,
  type TempFolder,
} from '../../harness/fake-peer.ts';
import { ETHERTYPE, ethernet, ipv4, udp } from '../../harness/packets.ts';
import { macOf } from '../../harness/frames.ts';
import { holdings, untilHolding, type Holdings } from '../../harness/leaks.ts';

const MAIN = new URL('../../../src/cli/main.ts', import.meta.url).pathname;

let folder: TempFolder;
let runtime: string;
let before: Holdings;
beforeAll(async () => {
  folder = await tempFolder();
  runtime = join(folder.path, 'kith');
});
afterAll(() => folder[Symbol.asyncDispose]());
beforeEach(() => {
  before = holdings();
});
afterEach(() => untilHolding(before));

function start(...args: string[]) {
  const child = startChild(process.execPath, [MAIN, ...args], {
    env: { XDG_RUNTIME_DIR: folder.path, TMPDIR: folder.path },
  });
  const output = { stdout: Buffer.alloc(0), stderr: '' };
  child.stdout?.on('data', (chunk: Buffer) => (output.stdout = Buffer.concat([output.stdout, chunk])));
  child.stderr?.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
  const ended = child.then(({ exitCode }) => ({
    code: exitCode,
    stdout: output.stdout.toString(),
    stderr: output.stderr,
    bytes: output.stdout,
  }));
  return { child, output, ended };
}
const kith = (...args: string[]) => start(...args).ended;

const status = async () =>
  peerStatus('a', 'initiator', { guests: ['master', 'worker-1', 'worker-2'].map((name) => guestStatus(name)) });

const VIEW: LinkView = {
  ends: [
    {
      guest: 'worker-1',
      wire: 'direct',
      roundTripMs: 1.25,
      sentBytes: 2048,
      receivedBytes: 9,
      drops: 1,
      shape: 'loss 1%',
    },
    { guest: 'worker-2', wire: 'down', sentBytes: 0, receivedBytes: 0, drops: 0, wires: [] },
  ],
};

describe('a link', () => {
  const asked: unknown[] = [];
  const link: PeerApi['link'] = async (params) => {
    asked.push(params);
    return VIEW;
  };
  const guests = ['worker-1', 'worker-2'];
  const shape = { rate: '10mbit', delay: '20ms', loss: '1%' };

  test.each([
    [['shape', '--rate', '10mbit', '--delay', '20ms', '--loss', '1%'], { there: shape, back: shape }],
    [['shape', '--there', '--delay', '20ms'], { there: { delay: '20ms' } }],
    [
      ['shape', '--both', '--limit', '64kb', '--jitter', '5'],
      { there: { limit: '64kb', jitter: '5' }, back: { limit: '64kb', jitter: '5' } },
    ],
    [['shape', '--clear'], { there: null, back: null }],
    [['shape', '--clear', '--there'], { there: null }],
    [['shape'], {}],
    [['link'], {}],
    [['link', '--wires', 'webrtc,stanza'], { wires: ['webrtc', 'stanza'] }],
    [['link', '--cut'], { wires: [] }],
    [['link', '--restore'], { wires: null }],
  ])('kith %j', async (args, order) => {
    await using _peer = await serveFakePeer(runtime, 'a', { status, link });
    const ended = await kith(...args, 'worker-1', 'worker-2', '--json');
    expect(ended).toMatchObject({ code: 0, stderr: '', stdout: `${JSON.stringify({ ok: true, ...VIEW })}\n` });
    expect(asked.splice(0)).toEqual([{ guests, ...order }]);
  });

  test('is shown as a table', async () => {
    await using _peer = await serveFakePeer(runtime, 'a', { status, link });
    const { stdout } = await kith('link', 'worker-1', 'worker-2');
    expect(stdout.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
      ['way', 'wire', 'rtt ms', 'sent', 'drops', 'shape', 'wires'],
      ['worker-1 -> worker-2', 'direct', '1.3', '2.0 KiB', '1', 'loss 1%', 'as the job says'],
      ['worker-2 -> worker-1', 'down', '-', '0 B', '0', '-', 'none: cut'],
      [''],
    ]);
  });

  test.each([
    [['shape', 'a']],
    [['shape', 'a', 'b', 'c']],
    [['shape', 'a', 'b', '--there', '--both', '--loss', '1%']],
    [['shape', 'a', 'b', '--clear', '--loss', '1%']],
    [['shape', 'a', 'b', '--there']],
    [['link', 'a']],
    [['link', 'a', 'b', '--cut', '--restore']],
    [['link', 'a', 'b', '--wires', '']],
    [['link', 'a', 'b', '--wires', 'memory']],
    [['link', 'a', 'b', '--wires', 'direct,direct']],
    [['capture', '-w', '-']],
    [['capture', 'a']],
    [['capture', 'a', 'b', 'c', '-w', '-']],
    [['capture', 'a', '-w', '-', '--json']],
    [['capture', 'a', '-w', '-', '--count', '0']],
    [['capture', 'a', '-w', '-', '--snaplen', '24001']],
  ])('wrong words are exit code 64: kith %j', async (args) => {
    const { code, stdout, stderr } = await kith(...args);
    expect(code).toBe(64);
    expect(stdout + stderr).toMatch(/error.+/);
  });

  test.each(['shape.invalid', 'job.no-link'])(
    'what the peer finds wrong in the words is exit code 64, too: %s',
    async (code) => {
      const refuse = () => Promise.reject(new KithError({ code, message: 'no', hint: 'say it otherwise' }));
      await using _peer = await serveFakePeer(runtime, 'a', { status, link: refuse });
      expect(await kith('shape', 'a', 'b', '--loss', 'x')).toMatchObject({
        code: 64,
        stderr: 'error: no; say it otherwise\n',
      });
    },
  );
});

/** A guest whose frames come two at a time. */
function captured() {
  const calls: string[] = [];
  const frame = (port: number) =>
    ethernet(
      { from: macOf(2), to: macOf(1), type: ETHERTYPE.ipv4 },
      ipv4({ from: '10.77.0.2', to: '10.77.0.1', protocol: 17 }, udp(1000, port)),
    );
  let port = 2000;
  const api: Pick<PeerApi, 'status' | 'captureOpen' | 'captureRead' | 'captureClose'> = {
    status,
    captureOpen: async ({ target, snapLength }) => {
      calls.push(`open ${JSON.stringify(target)} ${snapLength}`);
      return { guest: 'worker-1', lease: 'l', capture: 'c' };
    },
    captureRead: async () => {
      calls.push('read');
      // As a real peer, which waits for frames: a busy loop here would starve the signal.
      await new Promise((resolve) => setImmediate(resolve));
      const packets = [frame(port++), frame(port++)].map((data) =>
        enhancedPacket({ timeUs: 1_000_000 * port, direction: 'inbound', length: data.length, data }),
      );
      return { data: base64(Buffer.concat(packets)), received: 100, dropped: 7 };
    },
    captureClose: async () => {
      calls.push('close');
      return {};
    },
  };
  return { api, calls };
}

async function portsIn(file: string): Promise<string[]> {
  const { stdout } = await runCommand('tshark', ['-n', '-r', file, '-T', 'fields', '-e', 'udp.dstport'], {
    timeoutMs: 60_000,
  });
  return stdout.trim().split('\n');
}

describe('a capture', () => {
  test('writes a file that is nobody else’s and that tshark reads, and is told to end', async ({ skip }) => {
    if (!findProgram('tshark')) skip('tshark is not installed');
    const { api, calls } = captured();
    await using _peer = await serveFakePeer(runtime, 'a', api);
    const file = join(folder.path, 'count.pcapng');
    const { code, stdout, stderr } = await kith('capture', 'worker-1', '-w', file, '--count', '5');
    expect([code, stdout]).toEqual([0, '']);
    expect(stderr).toBe('capturing worker-1; Ctrl-C ends it\n5 frames, 7 left out because reading was too slow\n');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await portsIn(file)).toEqual(['2000', '2001', '2002', '2003', '2004']);
    expect(calls).toEqual(['open {"guest":"worker-1"} 24000', 'read', 'read', 'read', 'close']);
  });

  test('of a link goes to standard output, and nothing else does', async () => {
    const { api, calls } = captured();
    await using _peer = await serveFakePeer(runtime, 'a', api);
    const args = ['capture', 'worker-1', 'worker-2', '-w', '-', '--snaplen', '100', '--count', '2'];
    const { code, bytes } = await kith(...args);
    expect(code).toBe(0);
    expect(bytes.readUInt32LE(0)).toBe(0x0a0d0d0a);
    expect(bytes.includes('link worker-1 - worker-2, seen at worker-1')).toBe(true);
    expect(calls[0]).toBe('open {"link":["worker-1","worker-2"]} 100');
  });

  test('does not write over a file, unless told to', async () => {
    const { api, calls } = captured();
    await using _peer = await serveFakePeer(runtime, 'a', api);
    const file = join(folder.path, 'there.pcapng');
    await writeFile(file, 'dear');
    const refused = await kith('capture', 'worker-1', '-w', file, '--count', '1');
    expect(refused).toMatchObject({ code: 64, stderr: `error: ${file} is there already; --force writes over it\n` });
    expect([await readFile(file, 'utf8'), calls.at(-1)]).toEqual(['dear', 'close']);
    const forced = await kith('capture', 'worker-1', '-w', file, '--count', '1', '--force', '--json');
    expect(JSON.parse(forced.stdout)).toEqual({ ok: true, file, frames: 1, dropped: 7 });
    expect((await readFile(file)).readUInt32LE(0)).toBe(0x0a0d0d0a);
  });

  test('of a guest that is not there leaves no file behind', async () => {
    const captureOpen = () => Promise.reject(new KithError({ code: 'job.no-guest', message: 'no guest x' }));
    await using _peer = await serveFakePeer(runtime, 'a', { ...captured().api, captureOpen });
    const file = join(folder.path, 'none.pcapng');
    expect(await kith('capture', 'x', '-w', file)).toMatchObject({ code: 1 });
    expect(existsSync(file)).toBe(false);
  });

  test.each(['SIGINT', 'SIGTERM'] as const)('that %s ends is complete, and no failure', async (signal) => {
    const { api, calls } = captured();
    await using _peer = await serveFakePeer(runtime, 'a', api);
    const file = join(folder.path, `${signal}.pcapng`);
    const { child, output, ended } = start('capture', 'worker-1', '-w', file);
    while (!output.stderr.includes('Ctrl-C') && child.stderr) await once(child.stderr, 'data');
    await expect.poll(() => calls.filter((call) => call === 'read').length, { timeout: 30_000 }).toBeGreaterThan(1);
    child.kill(signal);
    expect(await ended).toMatchObject({ code: 0, stdout: '' });
    expect(calls.at(-1)).toBe('close');
    const bytes = await readFile(file);
    let last = 0;
    for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at + 4)) last = bytes.readUInt32LE(at);
    expect(last).toBe(5); // interface statistics
  });

  test('can be looked at while it runs', async ({ skip }) => {
    if (!findProgram('tshark')) skip('tshark is not installed');
    const { api } = captured();
    await using _peer = await serveFakePeer(runtime, 'a', api);
    const line = `"${process.execPath}" "${MAIN}" capture worker-1 -w - --count 4 | tshark -n -r - -T fields -e udp.dstport`;
    const child = startChild('sh', ['-c', line], { env: { XDG_RUNTIME_DIR: folder.path, TMPDIR: folder.path } });
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString()));
    await child;
    expect(text.trim().split('\n')).toEqual(['2000', '2001', '2002', '2003']);
  });
});
