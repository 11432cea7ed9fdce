/** The MTU of the plan: guests take it from their card, and frames of that size pass two switches and a wire whole. */
import { expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import type { RunningGuest } from '../../src/guest/guest.ts';
import { frames } from '../../src/net/batch.ts';
import type { Run } from '../../src/net/port.ts';
import { createSwitch } from '../../src/net/switch.ts';
import { memoryPair } from '../../src/wire/memory.ts';
import { openTestLan, sh, until } from '../harness/guest.ts';

const NODES = [1, 2] as const;

it.each([9000, 65_000])('of %i bytes arrives in the guests, and so do frames that long', async (mtu) => {
  await using lan = await openTestLan(2);
  const longest = { 1: 0, 2: 0 };
  const directory = NODES.map((node) => ({
    node,
    mac: lan.config(node - 1).mac,
    address: lan.config(node - 1).address,
  }));
  const switches = NODES.map((node) => {
    const sw = createSwitch({ node, lan: 7, clock: systemClock, mtu });
    sw.setGraph({ epoch: 1, edges: [[1, 2]], links: [3 - node], directory, server: 1 });
    return sw;
  });
  const wires = memoryPair({
    onBatch: [(batch) => switches[0]!.fromWire(2, batch), (batch) => switches[1]!.fromWire(1, batch)],
    maxBatch: 262_144,
  });
  for (const node of NODES) switches[node - 1]!.attachWire(3 - node, wires[node - 1]!);
  const boot = async (node: 1 | 2): Promise<RunningGuest> => {
    const guest = await lan.boot(node - 1, {
      config: { ...lan.config(node - 1), mtu },
      onRun: (run: Run, headroom) => {
        for (const frame of frames(run)) longest[node] = Math.max(longest[node], frame.length);
        switches[node - 1]!.fromPort(run, headroom);
      },
    });
    switches[node - 1]!.attachPort(guest.port);
    return guest;
  };
  const [master, worker] = await Promise.all([boot(1), boot(2)]);
  await until(worker, 'ip -o -4 addr show dev eth0 | grep -q inet');
  for (const guest of [master, worker]) {
    expect(await sh(guest, 'cat /sys/class/net/eth0/mtu')).toBe(`${mtu}\n`);
    // The card itself knows: no script could have set more.
    expect(await sh(guest, `ip link set eth0 mtu ${mtu + 1} 2>/dev/null || echo refused`)).toBe('refused\n');
  }
  // IPv4 and ICMP headers make 28 bytes. Both the question and its answer are one frame of the full size.
  expect(await sh(master, `ping -c 3 -W 20 -s ${mtu - 28} 10.77.0.2`)).toContain('3 packets received, 0% packet loss');
  expect(longest).toEqual({ 1: mtu + 14, 2: mtu + 14 });
});
