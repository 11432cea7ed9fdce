/** The direct wire: TLS over loopback, both ends in this process. */
import { once } from 'node:events';
import {
  connect as connectTcp,
  createServer as createTcpServer,
  type AddressInfo,
  type Server,
  type Socket,
} from 'node:net';
import { connect as connectTls, TLSSocket } from 'node:tls';
import { setImmediate } from 'node:timers/promises';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { openDirectListener } from '../../../src/wire/direct-listener.ts';
import type { Signal } from '../../../src/wire/signaling.ts';
import { wireContract } from '../../contract/wire.ts';
import {
  deadPort,
  directStage,
  portOf,
  startValve,
  withCandidates,
  type DirectStage,
  type Side,
} from '../../harness/direct.ts';
import { createInbox } from '../../harness/inbox.ts';
import { holdings, untilHolding } from '../../harness/leaks.ts';

const shared = await directStage();
afterAll(() => shared[Symbol.asyncDispose]());
let channels = 0;

wireContract('direct', async ([atA, atB]) => {
  const channel = `contract-${channels++}`;
  return Promise.all([shared.dial('a', { channel, onBatch: atA }), shared.dial('b', { channel, onBatch: atB })]);
});

const codeOf = (attempt: Promise<unknown>): Promise<unknown> =>
  attempt.then(
    () => 'open',
    (error: { code?: string; message: string }) => [error.code, error.message],
  );

describe('the direct wire', () => {
  test('takes frames of 65,000 bytes and a whole read of 128 KiB in one batch', async () => {
    await using stage = await directStage();
    const inbox = createInbox();
    const [a, b] = await stage.open([() => {}, inbox.take]);
    await using _ = a;
    await using __ = b;
    expect(a.maxBatch).toBe(262_144);
    for (const length of [65_038, 131_072]) expect(a.send(new Uint8Array(length).fill(length & 255))).toBe(true);
    expect((await inbox.until(2)).map(({ length }) => length)).toEqual([65_038, 131_072]);
  });

  test('needs two signals, and they name no address but the one that we listen at', async () => {
    await using stage = await directStage();
    const [a, b] = await stage.open();
    await using _ = a;
    await using __ = b;
    expect(stage.signals.log.map(({ from, signal }) => [from, (signal.data as { type: string }).type])).toEqual([
      ['a', 'direct-offer'],
      ['b', 'direct-answer'],
    ]);
    expect(new Set(JSON.stringify(stage.signals.log).match(/"host":"[^"]*"/g))).toEqual(
      new Set(['"host":"127.0.0.1"']),
    );
  });

  test('sixteen at once: both ends of each mean the same connection, and no other one is left', async () => {
    const before = holdings();
    {
      await using stage = await directStage();
      const inboxes = Array.from({ length: 16 }, createInbox);
      const wires = await Promise.all(
        inboxes.flatMap(({ take }, i) => [
          stage.dial('a', { channel: `x${i}` }),
          stage.dial('b', { channel: `x${i}`, onBatch: take }),
        ]),
      );
      for (let i = 0; i < 16; i++) wires[2 * i]!.send(new Uint8Array(100).fill(i));
      const got = await Promise.all(inboxes.map(({ until }) => until(1)));
      expect(got.map(([batch]) => batch?.[0])).toEqual(Array.from({ length: 16 }, (_, i) => i));
      const allowed = before.handles['TCPSocketWrap'] ?? 0;
      await vi.waitFor(() => expect(holdings().handles['TCPSocketWrap']).toBe(allowed + 32), { timeout: 20_000 });
      await Promise.all(wires.map((wire) => wire[Symbol.asyncDispose]()));
    }
    await untilHolding(before);
  });

  test.each([['a'], ['b']] as const)('opens if only %s can be reached', async (reachable) => {
    const closed = await deadPort();
    await using stage = await directStage((signal, from) => [
      from === reachable ? signal : withCandidates(signal, closed),
    ]);
    const inbox = createInbox();
    const [a, b] = await stage.open([() => {}, inbox.take]);
    await using _ = a;
    await using __ = b;
    a.send(new Uint8Array(20));
    expect(await inbox.until(1)).toHaveLength(1);
  });

  test('opens if the peer is quicker than the answer that announces him', async () => {
    const closed = await deadPort();
    let answer: Signal | undefined;
    await using stage = await directStage((signal, from) => {
      if (from === 'a') return [signal];
      answer = withCandidates(signal, closed);
      return [];
    });
    const before = holdings().handles['TCPSocketWrap'] ?? 0;
    const opening = stage.open();
    // Two sockets: b's, and the one that a accepted. Then some turns for certificates and preface.
    await vi.waitFor(() => expect(holdings().handles['TCPSocketWrap']).toBe(before + 2), { timeout: 20_000 });
    for (let turn = 0; turn < 200; turn++) await setImmediate();
    stage.signals.a.dispatch('b', answer!.channel, answer!.session, answer!.data);
    const [a, b] = await opening;
    await a[Symbol.asyncDispose]();
    expect(await b.closed).toBe('closed by the peer');
  });

  test('closes what it dialled and what led nowhere, once it is open', async () => {
    const closed = await deadPort();
    let mute: Server | undefined;
    await using stage = await directStage((signal, from) => [
      from === 'a'
        ? withCandidates(signal, closed)
        : withCandidates(signal, (mute!.address() as AddressInfo).port, portOf(signal)),
    ]);
    // It has the peer's certificate, and says no word.
    const gone = Promise.withResolvers<void>();
    mute = createTcpServer((socket) => {
      const secure = new TLSSocket(socket, { isServer: true, secureContext: stage.listeners.b.context });
      secure.on('error', () => {}).resume();
      secure.on('close', () => gone.resolve());
    }).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const [a, b] = await stage.open();
    await using _ = a;
    await using __ = b;
    await gone.promise;
    mute.close();
    expect(a.send(new Uint8Array(16))).toBe(true);
  });

  test('says at each address what became of it', async () => {
    const closed = await deadPort();
    await using stage = await directStage((signal) => [withCandidates(signal, closed)]);
    const outcomes = await Promise.all([
      codeOf(stage.dial('a', { timeoutMs: 500 })),
      codeOf(stage.dial('b', { timeoutMs: 500 })),
    ]);
    const message = `no address of the peer could be reached: 127.0.0.1:${closed} refused; and it reached none of ours`;
    expect(outcomes).toEqual([
      ['wire.dial-failed', message],
      ['wire.dial-failed', message],
    ]);
  });

  test('says that the peer sent nothing', async () => {
    await using stage = await directStage();
    for (const side of ['a', 'b'] as const) {
      expect(await codeOf(stage.dial(side, { timeoutMs: 100, channel: side }))).toEqual([
        'wire.dial-timeout',
        'the peer sent no addresses within 0.1 s',
      ]);
    }
  });

  test('is not opened between two LANs', async () => {
    await using stage = await directStage();
    const [offering, answering] = [stage.dial('a', { timeoutMs: 500 }), stage.dial('b', { lan: 2 })];
    offering.catch(() => {});
    expect(await codeOf(answering)).toEqual([
      'wire.dial-failed',
      'no direct connection: the peer means LAN 1, this link is of LAN 2',
    ]);
    await expect(offering).rejects.toMatchObject({ code: 'wire.dial-timeout' });
  });

  test('ends when told to: before it is open, and after', async () => {
    const before = holdings();
    {
      await using stage = await directStage();
      const early = new AbortController();
      const attempt = stage.dial('a', { channel: 'early', signal: early.signal });
      early.abort(new Error('enough'));
      await expect(attempt).rejects.toThrow('enough');

      const late = new AbortController();
      const [a, b] = await Promise.all([stage.dial('a', { signal: late.signal }), stage.dial('b')]);
      late.abort(new Error('enough'));
      expect(await a.closed).toBe('enough');
      expect(await b.closed).toBe('closed by the peer');
    }
    await untilHolding(before);
  });

  test('ends when the peer begins a new attempt', async () => {
    await using stage = await directStage();
    const [, b] = await stage.open();
    stage.signals.restart();
    const again = stage.open();
    expect(await b.closed).toBe('the peer began a new attempt');
    await Promise.all((await again).map((wire) => wire[Symbol.asyncDispose]()));
  });

  describe('through a network', () => {
    /** All goes through the valve: b names it instead of itself, and a cannot be reached. */
    const throughValve = async (
      act: (stage: DirectStage, valve: Awaited<ReturnType<typeof startValve>>) => Promise<void>,
    ) => {
      const closed = await deadPort();
      await using valve = await startValve();
      await using stage = await directStage((signal: Signal, from: Side) => {
        if (from === 'a') return [withCandidates(signal, closed)];
        valve.target = portOf(signal);
        return [withCandidates(signal, valve.port)];
      });
      await act(stage, valve);
    };

    test.each([['reset'], ['end']] as const)('that breaks by %s: both ends know at once', (how) =>
      throughValve(async (stage, valve) => {
        const [a, b] = await stage.open();
        valve.cut(how);
        for (const wire of [a, b]) expect(await wire.closed).toMatch(/^the connection was lost/);
      }),
    );

    test('that stalls: what does not fit is refused and counted, what was taken arrives once it flows', () =>
      throughValve(async (stage, valve) => {
        const inbox = createInbox();
        const [a, b] = await stage.open([() => {}, inbox.take]);
        await using _ = a;
        await using __ = b;
        valve.shut();
        let taken = 0;
        let refused = 0;
        let most = 0;
        // Until the buffers of the kernel are full, and for a while after.
        while (refused < 2000) {
          const batch = new Uint8Array(10_000);
          new DataView(batch.buffer).setUint32(0, taken);
          if (a.send(batch)) taken++;
          else refused++;
          most = Math.max(most, a.stats().queuedBytes);
          if ((taken + refused) % 10 === 0) await setImmediate();
        }
        expect(a.stats().drops).toBe(refused);
        expect(most).toBeLessThanOrEqual(1_048_576);
        valve.open();
        const got = await inbox.until(taken);
        expect(got.map((batch) => new DataView(batch.buffer).getUint32(0))).toEqual(
          Array.from({ length: taken }, (_, i) => i),
        );
        await vi.waitFor(() => expect(a.stats().queuedBytes).toBe(0), { timeout: 20_000 });
      }));

    test('that stalls: closing does not wait for it', () =>
      throughValve(async (stage, valve) => {
        const [a, b] = await stage.open();
        valve.shut();
        while (a.send(new Uint8Array(10_000))) await setImmediate();
        await a[Symbol.asyncDispose]();
        expect(await a.closed).toBe('closed by us');
        await b[Symbol.asyncDispose]();
      }));
  });
});

describe('the listener', () => {
  test('says which port it cannot have', async () => {
    await using first = await openDirectListener({ bindAddress: '127.0.0.1', log: silentLog });
    const [{ port } = { port: 0 }] = first.endpoints();
    expect(await codeOf(openDirectListener({ bindAddress: '127.0.0.1', port, log: silentLog }))).toEqual([
      'wire.listen-failed',
      expect.stringMatching(`^cannot listen for direct connections on port ${port}: `),
    ]);
  });

  test('announces what it is told to, if that is an address', async () => {
    const options = { bindAddress: '127.0.0.1', log: silentLog };
    await using listener = await openDirectListener({ ...options, announce: ['203.0.113.5:4000'] });
    expect(listener.endpoints().at(-1)).toEqual({ host: '203.0.113.5', port: 4000 });
    expect(await codeOf(openDirectListener({ ...options, announce: ['router.example:4000'] }))).toEqual([
      'wire.announce',
      'router.example:4000 is not an address that peers can reach',
    ]);
  });

  test.each([
    ['says nothing', (liar: Socket) => liar],
    ['speaks HTTP', (liar: Socket) => liar.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['talks noise', (liar: Socket) => liar.write(Buffer.alloc(200_000, 0x16))],
    ['hangs up in the middle', (liar: Socket) => liar.end(Buffer.from('16030100', 'hex'))],
  ])('survives somebody who %s, and the peer comes in all the same', async (_, lie) => {
    await using stage = await directStage();
    using __ = stage.listeners.a.attempt();
    const liar = connectTcp(stage.listeners.a.endpoints()[0]!).on('error', () => {});
    const gone = new Promise((resolve) => liar.on('close', resolve));
    liar.on('connect', () => lie(liar)).resume();
    const [a, b] = await stage.open();
    await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose]()]);
    // Those who say nothing after five seconds.
    await gone;
    expect(liar.bytesRead).toBeLessThan(200); // at most an alert
  });

  test('shows out who has no certificate, or an older kind of TLS', async () => {
    await using stage = await directStage();
    using _ = stage.listeners.a.attempt();
    for (const options of [{}, { maxVersion: 'TLSv1.2' as const }]) {
      const liar = connectTls({ ...stage.listeners.a.endpoints()[0]!, rejectUnauthorized: false, ...options });
      liar.on('error', () => {}).resume();
      await new Promise((resolve) => liar.on('close', resolve));
      expect(liar.destroyed).toBe(true);
    }
  });
});
