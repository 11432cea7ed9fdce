/** Flows of runs: the same conversation has the same number, another one (nearly always) another. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { flowOf } from '../../../src/wire/flow.ts';
import { frame, macOf, runOfFrames } from '../../harness/frames.ts';

interface Packet {
  readonly protocol?: number;
  readonly from?: number;
  readonly ports?: readonly [number, number];
  readonly fragment?: number;
  readonly fill?: number;
}

function ipv4({ protocol = 6, from = 1, ports = [1000, 2000], fragment = 0, fill = 0 }: Packet): Uint8Array {
  const bytes = frame({ to: macOf(2), from: macOf(1), length: 100 });
  bytes.fill(fill, 14);
  bytes.set([0x08, 0x00, 0x45], 12);
  bytes.set([fragment >> 8, fragment & 255, 64, protocol], 20);
  bytes.set([10, 0, 0, from, 10, 0, 0, 2], 26);
  bytes.set([ports[0] >> 8, ports[0] & 255, ports[1] >> 8, ports[1] & 255], 34);
  return runOfFrames(bytes);
}

function ipv6({ protocol = 17, from = 1, ports = [1000, 2000], fill = 0 }: Packet): Uint8Array {
  const bytes = frame({ to: macOf(2), from: macOf(1), length: 100 });
  bytes.fill(fill, 14);
  bytes.set([0x86, 0xdd, 0x60], 12);
  bytes[20] = protocol;
  bytes.fill(0, 22, 54);
  bytes.set([from], 37);
  bytes.set([ports[0] >> 8, ports[0] & 255, ports[1] >> 8, ports[1] & 255], 54);
  return runOfFrames(bytes);
}

test.each([
  ['IPv4', ipv4],
  ['IPv6', ipv6],
])('%s: ports, addresses and protocol tell flows apart, payload does not', (_, packet) => {
  const flow = flowOf(packet({}));
  expect(flowOf(packet({ fill: 9 }))).toBe(flow);
  for (const other of [{ ports: [1001, 2000] }, { ports: [1000, 2001] }, { from: 3 }, { protocol: 1 }] as const) {
    expect(flowOf(packet(other))).not.toBe(flow);
  }
});

test('fragments of one datagram are one flow, whatever stands where the ports would be', () => {
  const first = flowOf(ipv4({ fragment: 0x2000 }));
  expect(flowOf(ipv4({ fragment: 0x00b9, ports: [7, 7] }))).toBe(first);
});

test('many conversations spread over eight connections', () => {
  const counts = Array.from({ length: 8 }, () => 0);
  for (let port = 0; port < 4000; port++) counts[flowOf(ipv4({ ports: [port, 5201] })) % 8]!++;
  expect(Math.min(...counts)).toBeGreaterThan(300);
});

test('any bytes have a flow', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (run) => {
      expect(Number.isInteger(flowOf(run))).toBe(true);
    }),
  );
});
