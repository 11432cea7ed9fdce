/** The webrtc wire over real data channels on loopback. */
import { describe, expect, test } from 'vitest';
import { startChild } from '../../../src/base/process.ts';
import { silentLog } from '../../../src/base/log.ts';
import type { Signal } from '../../../src/wire/signaling.ts';
import { connectRtc } from '../../../src/wire/rtc.ts';
import { openWebrtc, type Path } from '../../../src/wire/webrtc.ts';
import { wireContract } from '../../contract/wire.ts';
import { createInbox } from '../../harness/inbox.ts';
import { addressesOf, signalPair, type SignalPair } from '../../harness/signals.ts';

const common = { bindAddress: '127.0.0.1', log: silentLog, timeoutMs: 20_000 };
const nobody = () => {};

const dial = (
  signals: SignalPair,
  side: 'a' | 'b',
  channel: string,
  more: { timeoutMs?: number; signal?: AbortSignal; path?: Path; onBatch?: (b: Uint8Array) => void } = {},
) =>
  openWebrtc({
    ...common,
    offer: side === 'a',
    pipe: signals[side].pipe({ peer: side === 'a' ? 'b' : 'a', channel, offer: side === 'a' }),
    onBatch: nobody,
    ...more,
  });

wireContract('webrtc', async ([atA, atB]) => {
  const signals = signalPair();
  return Promise.all([dial(signals, 'a', 'x', { onBatch: atA }), dial(signals, 'b', 'x', { onBatch: atB })]);
});

describe('the webrtc wire', () => {
  test('takes frames of 65,000 bytes and a whole read of 128 KiB in one batch', async () => {
    const signals = signalPair();
    const inbox = createInbox();
    const [a, b] = await Promise.all([dial(signals, 'a', 'x'), dial(signals, 'b', 'x', { onBatch: inbox.take })]);
    await using _ = a;
    await using __ = b;
    expect(a.maxBatch).toBe(262_144 - 5);
    for (const length of [65_038, 131_072]) expect(a.send(new Uint8Array(length).fill(length & 255))).toBe(true);
    expect((await inbox.until(2)).map(({ length }) => length)).toEqual([65_038, 131_072]);
  });

  test('needs three signals, and none of them names an address but 127.0.0.1', async () => {
    const signals = signalPair();
    const [a, b] = await Promise.all([dial(signals, 'a', 'x'), dial(signals, 'b', 'x')]);
    await using _ = a;
    await using __ = b;
    const text = JSON.stringify(signals.log);
    expect(signals.log.length).toBeLessThanOrEqual(3);
    expect(addressesOf(signals)).toEqual(new Set(['127.0.0.1']));
    expect(text).not.toMatch(/192\.168|10\.\d+\.\d+\.\d+|fd00|fe80|172\./);
  });

  test('opens every time: sixteen at once', async () => {
    // libdatachannel loses one attempt in ten when both ends may reach each other at once (negotiation.ts).
    const signals = signalPair();
    const wires = await Promise.all(
      Array.from({ length: 16 }, (_, i) => [dial(signals, 'a', `x${i}`), dial(signals, 'b', `x${i}`)]).flat(),
    );
    expect(wires).toHaveLength(32);
    await Promise.all(wires.map((wire) => wire[Symbol.asyncDispose]()));
  });

  test('opens when candidates come before the description, and twice', async () => {
    const late: { signal: Signal; from: 'a' | 'b' }[] = [];
    const signals = signalPair((signal, from) => {
      // The answer is held back until the candidates of the same end are there, which then come first.
      if (from !== 'b') return [signal];
      late.push({ signal, from });
      const { channel, session } = signal;
      const sdp = String((signal.data as { sdp?: string }).sdp);
      const candidates = [...sdp.matchAll(/^a=(candidate:.*)\r$/gm)].map(([, candidate]) => ({
        candidate,
        sdpMid: '0',
      }));
      const early = { channel, session, data: { candidates } };
      return [early, early, signal, signal, early];
    });
    const [a, b] = await Promise.all([dial(signals, 'a', 'x'), dial(signals, 'b', 'x')]);
    expect(late.length).toBeGreaterThan(0);
    await a[Symbol.asyncDispose]();
    await b[Symbol.asyncDispose]();
  });

  test('a peer that never answers: wire.dial-timeout, with a hint', async () => {
    await expect(dial(signalPair(), 'a', 'x', { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'wire.dial-timeout',
      retry: 'later',
      hint: expect.stringContaining('TURN') as string,
    });
  });

  test('large packets are tried, and used when they pass', async () => {
    const signals = signalPair();
    const path = { narrow: false };
    const [a, b] = await Promise.all([dial(signals, 'a', 'x', { path }), dial(signals, 'b', 'x', { path })]);
    expect(path.narrow).toBe(false);
    await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose]()]);
  });

  test('large packets that nobody answers: the attempt fails, and the next one uses small ones', async () => {
    const signals = signalPair();
    const path = { narrow: false };
    const pipe = signals.b.pipe({ peer: 'a', channel: 'x', offer: false });
    const deaf = connectRtc({ ...common, offer: false, pipe }, { onMessage: nobody });
    await expect(dial(signals, 'a', 'x', { path })).rejects.toMatchObject({ code: 'wire.path-mtu', retry: 'later' });
    expect(path.narrow).toBe(true);
    await (await deaf)[Symbol.asyncDispose]();
    const [a, b] = await Promise.all([dial(signals, 'a', 'x', { path }), dial(signals, 'b', 'x', { path })]);
    await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose]()]);
  });

  test.each([
    ['sends what no wire sends', [Uint8Array.of(1, 0, 0, 1, 0)]], // it read 256 bytes of nothing
    ['probes again and again', [Uint8Array.of(2), Uint8Array.of(2)]], // and need not read our answers
  ])('a peer that %s is cut off', async (_, messages) => {
    const signals = signalPair();
    const pipe = signals.b.pipe({ peer: 'a', channel: 'x', offer: false });
    const [wire, evil] = await Promise.all([
      dial(signals, 'a', 'x'),
      connectRtc({ ...common, offer: false, pipe }, { onMessage: nobody }),
    ]);
    for (const message of messages) evil.send(message);
    expect(await wire.closed).toMatch('no message of a webrtc wire');
    await Promise.all([wire[Symbol.asyncDispose](), evil[Symbol.asyncDispose]()]);
  });

  test('an abort ends an attempt, before and while it runs, with its own reason', async () => {
    const reason = new Error('enough');
    await expect(dial(signalPair(), 'b', 'x', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const attempt = dial(signalPair(), 'b', 'x', { signal: controller.signal });
    setImmediate(() => controller.abort(reason));
    await expect(attempt).rejects.toBe(reason);
  });

  test('a signal that cannot be delivered ends the attempt', async () => {
    const pipe = {
      send: () => Promise.reject(new Error('no such peer')),
      onData: () => nobody,
    };
    await expect(openWebrtc({ ...common, offer: true, pipe, onBatch: nobody })).rejects.toMatchObject({
      code: 'wire.signal-failed',
      message: expect.stringContaining('no such peer') as string,
    });
  });

  test('garbage instead of an answer is ignored, and a broken answer refused', async () => {
    const seen: unknown[] = [];
    const signals = signalPair((signal, from) => {
      if (from === 'a') return [signal];
      const bad = [
        null,
        7,
        'x',
        {},
        { type: 'offer', sdp: 'v=0' },
        { candidates: [{ candidate: 'candidate:x' }] },
        { type: 'renegotiate' },
      ];
      seen.push(...bad);
      return [
        ...bad.map((data) => ({ ...signal, data })),
        { ...signal, data: { type: 'answer', sdp: 'v=0\r\nnonsense' } },
      ];
    });
    const b = dial(signals, 'b', 'x', { timeoutMs: 3000 });
    b.catch(nobody);
    await expect(dial(signals, 'a', 'x')).rejects.toMatchObject({ code: 'wire.dial-failed' });
    await expect(b).rejects.toMatchObject({ code: expect.stringMatching(/^wire\.dial-/) as string });
    expect(seen.length).toBeGreaterThan(0);
  });

  test('a new attempt of the offering end ends the wire that the answering end still holds', async () => {
    const signals = signalPair();
    const [a, b] = await Promise.all([dial(signals, 'a', 'x'), dial(signals, 'b', 'x')]);
    signals.restart();
    const again = dial(signals, 'a', 'x');
    expect(await b.closed).toBe('the peer began a new attempt');
    const [c, d] = await Promise.all([again, dial(signals, 'b', 'x')]);
    await Promise.all([a, c, d].map((wire) => wire[Symbol.asyncDispose]()));
  });
});

describe('a process with a webrtc wire', () => {
  const file = new URL('./webrtc-child.ts', import.meta.url).pathname;
  const run = async (mode: string) => {
    const child = startChild(process.execPath, [file, mode]);
    let output = '';
    child.stdout?.on('data', (data: Buffer) => (output += data.toString()));
    child.stderr?.on('data', (data: Buffer) => (output += data.toString()));
    const { exitCode, signal } = await child;
    return { exitCode, signal, output };
  };

  test.each(['wire', 'timeout', 'blob'])('ends after %s, without a crash and with no timer left', async (mode) => {
    expect(await run(mode)).toEqual({ exitCode: 0, signal: undefined, output: `${mode} done\n` });
  });

  test('ends by process.exit with wires open, without a crash', async () => {
    expect(await run('exit')).toEqual({ exitCode: 3, signal: undefined, output: 'exit done\n' });
  });
});
