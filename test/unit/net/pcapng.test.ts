/** Captures: their structure by the specification, and what tshark reads in them. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findProgram, runCommand } from '../../../src/base/process.ts';
import { encodeRun } from '../../../src/net/batch.ts';
import {
  enhancedPacket,
  interfaceDescription,
  interfaceStatistics,
  packetBytes,
  packetEnds,
  sectionHeader,
  type Packet,
} from '../../../src/net/pcapng.ts';
import { createRecorder } from '../../../src/net/recorder.ts';
import { createTap } from '../../../src/net/tap.ts';
import { MAX_PAGE_BYTES, MAX_SNAP_BYTES } from '../../../src/protocol/limits.ts';
import { frame, macOf } from '../../harness/frames.ts';
import { ETHERTYPE, ethernet, ipv4, udp } from '../../harness/packets.ts';

const TIME_US = Date.UTC(2026, 10, 21, 12, 0, 0) * 1000 + 123_456;

const packet = fc.record<Packet>({
  timeUs: fc.integer({ min: 0, max: 2 ** 52 }),
  direction: fc.constantFrom('inbound', 'outbound'),
  length: fc.integer({ min: 300, max: 70_000 }),
  data: fc.uint8Array({ maxLength: 300 }),
});

describe('blocks of a capture', () => {
  test('say their length in front and behind, in whole words', () => {
    fc.assert(
      fc.property(packet, fc.string({ maxLength: 40 }), (given, name) => {
        const blocks = [
          sectionHeader({ application: name }),
          interfaceDescription({ name, description: name, snapLength: 300 }),
          enhancedPacket(given),
          interfaceStatistics({ timeUs: given.timeUs, received: 7, dropped: 2 }),
        ];
        for (const block of blocks) {
          const view = new DataView(block.buffer);
          expect([view.getUint32(4, true), view.getUint32(block.length - 4, true), block.length % 4]).toEqual([
            block.length,
            block.length,
            0,
          ]);
        }
      }),
    );
  });

  test('of packets are found again, whatever is in them', () => {
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 20 }), (packets) => {
        const blocks = packets.map(enhancedPacket);
        const ends = packetEnds(Buffer.concat(blocks), 300);
        expect(ends).toEqual(blocks.map((_, i) => blocks.slice(0, i + 1).reduce((sum, { length }) => sum + length, 0)));
      }),
    );
  });

  test('fit into one page, the longest too: else it would never be read', () => {
    expect(packetBytes(MAX_SNAP_BYTES)).toBeLessThanOrEqual(MAX_PAGE_BYTES);
  });

  test('that are anything else are refused', () => {
    const good = enhancedPacket({ timeUs: 1, direction: 'inbound', length: 60, data: new Uint8Array(60) });
    const refused = (bytes: Uint8Array, snap = 60) => expect(() => packetEnds(bytes, snap)).toThrow(/not a capture/);
    expect(packetEnds(good, 60)).toEqual([good.length]);
    refused(good, 59);
    refused(good.subarray(0, -1));
    refused(sectionHeader({ application: 'evil' }));
    refused(Buffer.concat([good, Buffer.alloc(8)]));
    // Each word but time and data: type, lengths, interface, captured, original, flags, end, length again.
    for (const at of [0, 4, 8, 20, 24, 88, 92, 96, 100]) {
      const bad = new Uint8Array(good);
      bad[at]! ^= 0x80;
      if (at === 24) bad[at] = 1;
      refused(bad);
    }
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (bytes) => {
        expect(() => packetEnds(bytes, 300)).toThrow(/not a capture/);
      }),
    );
  });
});

describe('a tap', () => {
  const run = encodeRun([frame({ to: macOf(1), from: macOf(2), text: 'one' }), new Uint8Array(1000)]);

  test('shows each frame to everybody who looks, with its direction', () => {
    const tap = createTap();
    const seen: [string, number, string][] = [];
    tap.see(run, 'inbound');
    const stops = ['a', 'b'].map((who) => tap.watch(({ length }, direction) => seen.push([who, length, direction])));
    tap.see(run, 'outbound');
    stops[0]!();
    tap.see(run.subarray(0, 64), 'inbound');
    stops[1]!();
    tap.see(run, 'inbound');
    expect(seen).toEqual([
      ['a', 60, 'outbound'],
      ['b', 60, 'outbound'],
      ['a', 1000, 'outbound'],
      ['b', 1000, 'outbound'],
      ['b', 60, 'inbound'],
    ]);
  });

  test('is recorded in bounded memory: what does not fit is counted', async () => {
    const tap = createTap();
    using recorder = createRecorder(tap, { snapLength: 100, now: () => TIME_US / 1000 });
    for (let i = 0; i < 10_000; i++) tap.see(run, 'inbound');
    await recorder.waiting;
    const first = recorder.take(300);
    expect(packetEnds(first.blocks, 100)).toEqual([104, 248]);
    expect(first.received).toBe(20_000);
    const kept = 2 + packetEnds(recorder.take(2 ** 21).blocks, 100).length;
    expect(first.dropped).toBe(20_000 - kept);
    expect(kept * 124).toBeLessThanOrEqual(2 ** 20);
    expect(kept * 124).toBeGreaterThan(2 ** 20 - 1000);
    tap.see(run, 'inbound');
    await recorder.waiting;
    expect(packetEnds(recorder.take(2 ** 21).blocks, 100)).toHaveLength(2);
    expect(recorder.take(2 ** 21).blocks).toHaveLength(0);
  });

  test('of a recorder that is done costs nothing any more', () => {
    const tap = createTap();
    const recorder = createRecorder(tap, { snapLength: 100, now: () => 0 });
    recorder[Symbol.dispose]();
    tap.see(run, 'inbound');
    expect(recorder.take(1000)).toMatchObject({ received: 0, blocks: new Uint8Array(0) });
  });
});

describe('tshark', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kith-pcapng-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('reads name, times, directions, cut lengths and contents', { timeout: 60_000 }, async ({ skip }) => {
    if (!findProgram('tshark')) skip('tshark is not installed');
    const datagram = ethernet(
      { from: macOf(2), to: macOf(1), type: ETHERTYPE.ipv4 },
      ipv4({ from: '10.77.0.2', to: '10.77.0.1', protocol: 17 }, udp(5353, 7777)),
    );
    const packets: Packet[] = [
      { timeUs: TIME_US, direction: 'inbound', length: datagram.length, data: datagram },
      { timeUs: TIME_US + 1, direction: 'outbound', length: 1514, data: datagram.subarray(0, 41) },
    ];
    const file = join(folder, 'a.pcapng');
    await writeFile(
      file,
      Buffer.concat([
        sectionHeader({ application: 'kith test' }),
        interfaceDescription({ name: 'worker-1', description: 'guest worker-1', snapLength: 2000 }),
        ...packets.map(enhancedPacket),
        interfaceStatistics({ timeUs: TIME_US + 2, received: 5, dropped: 3 }),
      ]),
    );
    const fields = [
      'frame.interface_name',
      'frame.time_epoch',
      'frame.len',
      'frame.cap_len',
      'frame.packet_flags_direction',
      'udp.dstport',
    ];
    const { stdout } = await runCommand(
      'tshark',
      ['-n', '-r', file, '-T', 'fields', ...fields.flatMap((name) => ['-e', name])],
      { timeoutMs: 60_000 },
    );
    const rows = stdout
      .trim()
      .split('\n')
      .map((line) => line.split('\t'));
    const length = String(datagram.length);
    expect(
      rows.map(([name, time, long, kept, direction, port]) => [
        name,
        time?.replace(/0+$/, ''),
        long,
        kept,
        Number(direction),
        port,
      ]),
    ).toEqual([
      ['worker-1', '1795262400.123456', length, length, 1, '7777'],
      ['worker-1', '1795262400.123457', '1514', '41', 2, '7777'],
    ]);
    const about = await runCommand('capinfos', ['-M', file], { timeoutMs: 60_000 });
    expect(about.stdout).toMatch(/Capture application:\s+kith test/);
    expect(about.stdout).toMatch(/Number of packets:\s+2\b/);
    expect(about.stdout).toMatch(/Capture length = 2000/);
    expect(about.stdout).toMatch(/Description = guest worker-1/);
    expect(about.stdout).toMatch(/Time precision = microseconds \(6\)/);
    expect(about.stdout).toMatch(/Number of stat entries = 1/);
  });
});
