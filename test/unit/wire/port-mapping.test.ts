/** PCP and NAT-PMP as bytes, against a router made by hand: `keepPortMapping` and what it says on the wire. */
import { createSocket, type RemoteInfo } from 'node:dgram';
import { once } from 'node:events';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { keepPortMapping } from '../../../src/wire/gateway.ts';
import {
  decodePcp,
  decodePmpAddress,
  decodePmpPort,
  defaultGateway,
  encodePcp,
  encodePmp,
} from '../../../src/wire/port-mapping.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const REQUEST = { nonce: Buffer.from('0123456789ab'), client: '192.0.2.7', port: 4000, seconds: 7200 };

/** What a router answers to a PCP request (RFC 6887 7.2, 11.1). */
function pcpAnswer(
  request: Buffer,
  more: { code?: number; host?: string; port?: number; seconds?: number } = {},
): Buffer {
  const answer = Buffer.from(request);
  answer[1] = 0x81;
  answer[2] = 0;
  answer[3] = more.code ?? 0;
  answer.writeUInt32BE(more.seconds ?? 7200, 4);
  answer.fill(0, 8, 24);
  answer.writeUInt16BE(more.port ?? 40_000, 42);
  answer.set([...Buffer.alloc(10), 255, 255, ...(more.host ?? '203.0.113.5').split('.').map(Number)], 44);
  return answer;
}

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('as bytes', () => {
  test('a PCP request is as in RFC 6887', () => {
    expect(encodePcp(REQUEST)).toEqual(
      hex(
        '02 01 0000 00001c20 00000000000000000000ffff c0000207' +
          '303132333435363738396162 06 000000 0fa0 0fa0 00000000000000000000ffff 00000000',
      ),
    );
  });

  test('NAT-PMP requests are as in RFC 6886', () => {
    expect(encodePmp(REQUEST)).toEqual({ address: hex('0000'), map: hex('00 02 0000 0fa0 0fa0 00001c20') });
    expect(encodePmp({ ...REQUEST, seconds: 0 }).map).toEqual(hex('00 02 0000 0fa0 0000 00000000'));
  });

  test('answers say where we are reached, or why not', () => {
    const request = encodePcp(REQUEST);
    expect(decodePcp(pcpAnswer(request), REQUEST)).toEqual({
      kind: 'mapped',
      endpoint: { host: '203.0.113.5', port: 40_000 },
      seconds: 7200,
    });
    expect(decodePcp(pcpAnswer(request, { code: 2 }), REQUEST)).toEqual({ kind: 'refused', code: 2 });
    expect(decodePcp(hex('00 81 0001 00000000'), REQUEST)).toEqual({ kind: 'older' });
    expect(decodePmpAddress(hex('00 80 0000 00000009 cb007105'))).toBe('203.0.113.5');
    expect(decodePmpAddress(hex('00 80 0003 00000009 00000000'))).toEqual({ code: 3 });
    expect(decodePmpPort(hex('00 82 0000 00000009 0fa0 9c40 00000e10'), REQUEST)).toEqual({
      port: 40_000,
      seconds: 3600,
    });
    expect(decodePmpPort(hex('00 82 0002 00000009'), REQUEST)).toEqual({ code: 2 });
  });

  test('answers to others are not ours', () => {
    const request = encodePcp(REQUEST);
    expect(decodePcp(pcpAnswer(request), { ...REQUEST, nonce: Buffer.from('another one!') })).toBeUndefined();
    expect(decodePcp(pcpAnswer(request), { ...REQUEST, port: 4001 })).toBeUndefined();
    expect(decodePcp(request, REQUEST)).toBeUndefined();
    expect(decodePmpPort(hex('00 82 0000 00000009 0fa1 9c40 00000e10'), REQUEST)).toBeUndefined();
  });

  test('anything at all is read without an accident', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const message = Buffer.from(bytes);
        decodePcp(message, REQUEST);
        decodePmpAddress(message);
        decodePmpPort(message, REQUEST);
      }),
    );
    // Cut at any place, an honest answer is a short answer or none.
    const whole = pcpAnswer(encodePcp(REQUEST));
    for (let i = 0; i < whole.length; i++) expect(decodePcp(whole.subarray(0, i), REQUEST)).toBeUndefined();
  });

  test('the router is found where Linux keeps it', () => {
    const head = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n';
    const lan = 'eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n';
    expect(defaultGateway(`${head}${lan}eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n`)).toBe(
      '192.168.1.1',
    );
    for (const routes of ['', head, head + lan]) expect(defaultGateway(routes)).toBeUndefined();
  });
});

/** A router on loopback that answers as it is told, or not at all. */
async function fakeRouter(reply: (request: Buffer, from: RemoteInfo) => Buffer | undefined) {
  const socket = createSocket('udp4');
  const heard: Buffer[] = [];
  const waiters = new Set<() => void>();
  socket.on('message', (request, from) => {
    heard.push(request);
    for (const wake of waiters) wake();
    const answer = reply(request, from);
    if (answer) socket.send(answer, from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    heard,
    gateway: { host: '127.0.0.1', port: socket.address().port },
    async until(count: number) {
      while (heard.length < count) await new Promise<void>((resolve) => waiters.add(resolve));
    },
    async [Symbol.asyncDispose]() {
      socket.close();
    },
  };
}

describe('with a router', () => {
  const keep = (gateway: { host: string; port: number }, clock = virtualClock()) => ({
    clock,
    mapping: keepPortMapping({ port: 4000, gateway, clock, log: silentLog }),
  });

  test('that speaks PCP: a port is open, renewed at half time, and closed in the end', async () => {
    let port = 40_000;
    await using router = await fakeRouter((request) =>
      request[0] === 2 ? pcpAnswer(request, { port: port++ }) : undefined,
    );
    const { clock, mapping } = keep(router.gateway);
    await mapping.tried;
    expect(mapping.endpoint).toEqual({ host: '203.0.113.5', port: 40_000 });
    clock.advance(3_600_000);
    await router.until(2);
    await mapping[Symbol.asyncDispose]();
    expect(mapping.endpoint).toBeUndefined();
    await router.until(4);
    const lifetimes = router.heard.filter(({ length }) => length === 60).map((request) => request.readUInt32BE(4));
    expect(lifetimes).toEqual([7200, 7200, 0]);
    expect(router.heard.map((request) => request.subarray(24, 36)).slice(0, 3)).toEqual(
      Array.from({ length: 3 }, () => router.heard[0]!.subarray(24, 36)),
    );
  });

  test('that lends a port for 136 years: it is asked again within a day, and not at once', async () => {
    await using router = await fakeRouter((request) => pcpAnswer(request, { seconds: 0xffff_ffff }));
    const { clock, mapping } = keep(router.gateway);
    await mapping.tried;
    expect(router.heard).toHaveLength(1);
    clock.advance(86_400_000);
    await router.until(2);
    await mapping[Symbol.asyncDispose]();
  });

  test('that speaks NAT-PMP alone', async () => {
    await using router = await fakeRouter((request) => {
      if (request[0] === 2) return hex('00 81 0001 00000000');
      return request[1] === 0 ? hex('00 80 0000 00000009 cb007105') : hex('00 82 0000 00000009 0fa0 9c40 00000e10');
    });
    const { mapping } = keep(router.gateway);
    await mapping.tried;
    expect(mapping.endpoint).toEqual({ host: '203.0.113.5', port: 40_000 });
    await mapping[Symbol.asyncDispose]();
  });

  test.each([
    ['says no', (request: Buffer) => pcpAnswer(request, { code: 2 })],
    ['is behind another one', (request: Buffer) => pcpAnswer(request, { host: '192.168.0.2' })],
    ['lends port 0', (request: Buffer) => pcpAnswer(request, { port: 0 })],
  ])('that %s: there is no port, and later one tries again', async (_, reply) => {
    await using router = await fakeRouter(reply);
    const { clock, mapping } = keep(router.gateway);
    await mapping.tried;
    expect(mapping.endpoint).toBeUndefined();
    clock.advance(600_000);
    await router.until(2);
    await mapping[Symbol.asyncDispose]();
  });

  test('that is mute: it is asked five times, and given up', async () => {
    await using router = await fakeRouter(() => undefined);
    const { clock, mapping } = keep(router.gateway);
    for (let asked = 1; asked <= 5; asked++) {
      await router.until(asked);
      clock.advance(250 * 2 ** (asked - 1));
    }
    await mapping.tried;
    expect(mapping.endpoint).toBeUndefined();
    expect(router.heard).toHaveLength(5);
    await mapping[Symbol.asyncDispose]();
  });

  test('stopped in the middle of a question', async () => {
    await using router = await fakeRouter(() => undefined);
    const { mapping } = keep(router.gateway);
    await router.until(1);
    await mapping[Symbol.asyncDispose]();
    expect(mapping.endpoint).toBeUndefined();
  });
});
