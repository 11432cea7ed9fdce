/** What a hostile guest tries on its LAN and beyond it, from inside a real one: each attempt with its guard and without. */
import { connect, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import type { RunningGuest } from '../../src/guest/guest.ts';
import { frames } from '../../src/net/batch.ts';
import type { DropReason } from '../../src/net/counters.ts';
import type { Run } from '../../src/net/port.ts';
import { createSwitch, type Switch } from '../../src/net/switch.ts';
import { topologyEdges } from '../../src/net/topology.ts';
import { memoryPair } from '../../src/wire/memory.ts';
import { openTestLan, sh, until, type TestLan } from '../harness/guest.ts';
import { linksOf } from '../harness/lan.ts';
import { createMemoryPort, type MemoryPort } from '../harness/memory-port.ts';

const NODES = [1, 2, 3];
const MAC = (node: number) => `52:54:00:00:00:0${node}`;
const PLANNED = NODES.map((node) => ({ node, mac: MAC(node), address: `10.77.0.${node}` }));
const EDGES = topologyEdges({ kind: 'mesh' }, NODES);

/** What the victim's switch may let through of a storm at once, and per second (src/net/bucket.ts). */
const STORM_BURST = 2 * 262_144;
const STORM_PER_SECOND = 2 * 65_536;

/** Guards that are switched off at the moment, at every switch. */
const off = new Set<DropReason>();
const table: string[][] = [['attempt', 'guard', 'with the guard', 'without']];

/** A row of the table. Each half runs with the guard as it should be; what it returns is what it found. */
async function attempt(
  name: string,
  guard: DropReason,
  tried: () => Promise<string>,
): Promise<readonly [string, string]> {
  const guarded = await tried();
  off.add(guard);
  try {
    const open = await tried();
    table.push([name, guard, guarded, open]);
    return [guarded, open];
  } finally {
    off.clear();
  }
}

describe('a hostile worker guest between a master and a victim', () => {
  let lan: TestLan;
  let master: RunningGuest;
  let attacker: RunningGuest;
  let victim: RunningGuest;
  /** Frames that reached the victim's network card. */
  let heard: Uint8Array[] = [];
  const switches = new Map<number, Switch>();
  /** The same peers' switches of another job, with ears instead of guests. */
  const others = new Map<number, { readonly sw: Switch; readonly ear: MemoryPort }>();

  const at = (node: number) => switches.get(node)!;
  const dropped = (reason: DropReason) => at(2).stats().dropped[reason];

  beforeAll(async () => {
    for (const node of NODES) {
      switches.set(node, openSwitch(node, 7));
      const ear = createMemoryPort();
      const sw = openSwitch(node, 8);
      sw.attachPort(ear);
      others.set(node, { sw, ear });
    }
    for (const [a, b] of EDGES) {
      // The worst case: both jobs share their wires, and each batch is shown to the switches of both.
      const into = (to: number, from: number) => (batch: Uint8Array) => {
        others.get(to)!.sw.fromWire(from, batch.slice());
        at(to).fromWire(from, batch);
      };
      const [left, right] = memoryPair({ onBatch: [into(a, b), into(b, a)] });
      at(a).attachWire(b, left);
      at(b).attachWire(a, right);
    }
    lan = await openTestLan(3);
    const boot = async (node: number) => {
      const guest = await lan.boot(node - 1, { onRun: (run) => at(node).fromPort(run) });
      const { port } = guest;
      at(node).attachPort({
        name: port.name,
        closed: port.closed,
        send(run: Run) {
          if (node === 3) for (const frame of frames(run)) heard.push(new Uint8Array(frame));
          return port.send(run);
        },
      });
      return guest;
    };
    [master, attacker, victim] = await Promise.all([boot(1), boot(2), boot(3)]);
    for (const worker of [attacker, victim]) {
      await until(worker, 'ip -o -4 addr show dev eth0 | grep -q inet');
      // From now on addresses stay as they are unless a test asks for one.
      await sh(worker, 'kill $(pidof udhcpc)');
    }
  });
  afterAll(async () => {
    await lan[Symbol.asyncDispose]();
    process.stdout.write(`${tableText(table)}\n`);
  });

  it('sends as somebody that the plan does not know: nobody hears it', async () => {
    const become = (mac: string) => sh(attacker, `ip link set eth0 down; ip link set eth0 address ${mac} up`);
    await become('52:54:00:00:00:77');
    const [guarded, open] = await attempt('another MAC address, then ping the victim', 'forged', () =>
      pings(attacker, 3),
    );
    const spoofed = dropped('forged');
    await become(MAC(2));
    expect([guarded, open]).toEqual(['no answer', 'answered']);
    expect(spoofed).toBeGreaterThan(0);
    // The silence was the address's: with its own one it is heard again.
    await until(attacker, 'ping -c 1 -W 5 10.77.0.3');
  });

  it('claims the master’s address by ARP: the victim goes on believing the plan', async () => {
    await sh(attacker, 'ip addr add 10.77.0.1/32 dev eth0');
    const tried = async () => {
      // Without the guard the attacker may be the first to answer the question of who it is: then this ping is lost already.
      await sh(victim, 'ip neigh flush dev eth0; ping -c 1 -W 20 10.77.0.1 || true');
      const before = heard.length;
      // An entry that was just confirmed is not overwritten for a second, hence several.
      await sh(attacker, 'arping -U -c 4 -I eth0 10.77.0.1 || true; arping -A -c 4 -I eth0 10.77.0.1 || true');
      await settled(attacker);
      const lies = heard.slice(before).filter((frame) => isFrom(frame, 2) && hex(frame, 12, 14) === '0806');
      const believed = await sh(victim, 'awk \'$1 == "10.77.0.1" { print $4 }\' /proc/net/arp');
      return `${lies.some((frame) => hex(frame, 28, 32) === '0a4d0001') ? 'heard' : 'unheard'}, believes ${believed.trim()}`;
    };
    const [guarded, open] = await attempt('claim the master’s address by ARP', 'false-neighbour', tried);
    await sh(attacker, 'ip addr del 10.77.0.1/32 dev eth0');
    expect(guarded).toBe(`unheard, believes ${MAC(1)}`);
    expect(open).toBe(`heard, believes ${MAC(2)}`);
    expect(dropped('false-neighbour')).toBeGreaterThan(0);
    await sh(victim, 'ip neigh flush dev eth0; ping -c 1 -W 20 10.77.0.1');
  });

  it('sends with the master’s IP address: it does not arrive', async () => {
    await sh(attacker, 'ping -c 1 -W 20 10.77.0.3'); // knows the way, so that no ARP with the stolen address comes first
    await sh(attacker, `arp -s 10.77.0.3 ${MAC(3)}; ip addr add 10.77.0.1/32 dev eth0`);
    const tried = async () => {
      const before = heard.length;
      await sh(attacker, 'ping -c 2 -W 1 -I 10.77.0.1 10.77.0.3 || true');
      await settled(attacker);
      const stolen = heard.slice(before).filter((frame) => isFrom(frame, 2) && hex(frame, 26, 30) === '0a4d0001');
      return stolen.length > 0 ? 'arrives' : 'does not arrive';
    };
    const found = await attempt('send with the master’s IP address', 'stolen-address', tried);
    await sh(attacker, 'ip addr del 10.77.0.1/32 dev eth0; arp -d 10.77.0.3');
    expect(found).toEqual(['does not arrive', 'arrives']);
    expect(dropped('stolen-address')).toBeGreaterThan(0);
  });

  it('serves DHCP: the victim gets the planned address or none', async () => {
    const conf = [
      'start 10.77.0.66',
      'end 10.77.0.66',
      'interface eth0',
      'lease_file /run/rogue',
      'pidfile /run/rogue.pid',
    ];
    const rogue = [...conf, `static_lease ${MAC(3)} 10.77.0.66`].join('\n');
    await sh(attacker, `: >/run/rogue; echo '${rogue}' >/etc/rogue.conf; udhcpd /etc/rogue.conf`);
    await sh(
      victim,
      `printf '#!/bin/sh\\n[ "$1" = bound ] && echo "leased $ip"\\nexit 0\\n' >/run/tell; chmod 755 /run/tell`,
    );
    const ask = async () => {
      const asked = 'udhcpc -n -q -f -i eth0 -t 4 -T 5 -s /run/tell 2>/dev/null';
      const { stdout } = await victim.exec(['sh', '-c', asked], { timeoutMs: 120_000 });
      return /leased (\S+)/.exec(stdout.toString())?.[1] ?? 'no lease';
    };
    // While the master's server answers too it depends on who is faster, so "without" is measured with that one asleep.
    expect(await ask()).toBe('10.77.0.3');
    await sh(master, 'kill -STOP $(pidof udhcpd)');
    const found = await attempt('serve DHCP, the master’s server asleep', 'rogue-server', ask);
    await sh(master, 'kill -CONT $(pidof udhcpd)');
    await sh(attacker, 'kill $(cat /run/rogue.pid)');
    expect(found).toEqual(['no lease', '10.77.0.66']);
    expect(dropped('rogue-server')).toBeGreaterThan(0);
  });

  it('floods: the others hear a bounded part and still reach each other', async () => {
    await sh(attacker, 'ip route replace 224.0.0.0/4 dev eth0');
    const runs: { readonly bytes: number; readonly bound: number }[] = [];
    const tried = async () => {
      heard = [];
      const start = performance.now();
      // Nobody answers a multicast ping, so this goes as fast as the guest can.
      const flood = sh(attacker, 'timeout 120 ping -q -c 5000 -i 0.0001 -s 1000 -W 1 239.1.1.1; true', 180_000);
      const meanwhile = await pings(victim, 1, 10);
      await flood;
      await settled(attacker);
      const bound = STORM_BURST + (STORM_PER_SECOND * (performance.now() - start)) / 1000;
      const loud = heard.filter((frame) => isFrom(frame, 2) && hex(frame, 0, 3) === '01005e');
      runs.push({ bytes: loud.reduce((sum, frame) => sum + frame.length, 0), bound });
      return `${loud.length} of 5000 heard, others ${meanwhile}`;
    };
    const before = dropped('storm');
    const [guarded] = await attempt('flood multicasts', 'storm', tried);
    expect(guarded).toContain('others answered');
    expect(dropped('storm')).toBeGreaterThan(before);
    const [calm, wild] = runs as [(typeof runs)[0], (typeof runs)[0]];
    expect(calm.bytes).toBeLessThan(calm.bound);
    expect(wild.bytes).toBeGreaterThan(calm.bytes);
  });

  it('is not heard on another job’s LAN, even on shared wires', async () => {
    const ears = () => others.get(3)!.ear.frames.length;
    expect(ears()).toBe(0);
    const tried = async () => {
      await sh(attacker, 'ping -c 1 -W 20 10.77.0.3');
      await settled(attacker);
      return ears() === 0 ? 'nothing heard' : 'heard';
    };
    expect(await attempt('talk into another job’s LAN', 'other-lan', tried)).toEqual(['nothing heard', 'heard']);
    expect(others.get(3)!.sw.stats().dropped['other-lan']).toBeGreaterThan(0);
  });

  it('has one network card and reaches no address of this host with it', async () => {
    const addresses = Object.values(networkInterfaces()).flatMap((list) =>
      (list ?? []).filter(({ family }) => family === 'IPv4'),
    );
    let reached = 0;
    const server = createServer((socket) => {
      reached++;
      socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
    const { port } = server.address() as { port: number };
    try {
      expect((await sh(attacker, 'ls /sys/class/net')).split(/\s+/).filter(Boolean).toSorted()).toEqual(['eth0', 'lo']);
      // 10.0.2.2 is this host for a guest with QEMU's own NAT. Loopback is sent out of the card, too.
      await sh(
        attacker,
        'echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; ip addr del 127.0.0.1/8 dev lo; ip addr add 10.0.2.15/24 dev eth0',
      );
      await sh(attacker, 'ip route replace default via 10.77.0.1; ip route add 127.0.0.0/8 via 10.77.0.1 || true');
      for (const address of ['10.0.2.2', ...new Set(addresses.map((entry) => entry.address))]) {
        const result = await attacker.exec(['sh', '-c', `echo hello | nc -w 3 ${address} ${port}`], {
          timeoutMs: 120_000,
        });
        expect(`${address}: ${result.exitCode}`).not.toBe(`${address}: 0`);
      }
      expect(reached).toBe(0);
      await connectFromHere(port);
      await expect.poll(() => reached, { timeout: 30_000 }).toBe(1);
      table.push([
        `reach this host’s ${addresses.length} addresses`,
        'no card but the LAN’s',
        'not reached',
        'reached from here',
      ]);
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  /** Whatever the guest sent before is behind us when an honest ping of it was answered. */
  async function settled(guest: RunningGuest): Promise<void> {
    await until(guest, 'ping -c 1 -W 5 10.77.0.3 >/dev/null || ping -c 1 -W 5 10.77.0.1 >/dev/null');
  }
});

function openSwitch(node: number, lan: number): Switch {
  const sw = createSwitch({ node, lan, clock: systemClock, without: off });
  sw.setGraph({ epoch: 1, edges: EDGES, links: linksOf(EDGES, node), directory: PLANNED, server: 1 });
  return sw;
}

async function pings(guest: RunningGuest, node: number, count = 3): Promise<string> {
  const line = `ping -c ${count} -W 10 10.77.0.${node}`;
  const { exitCode } = await guest.exec(['sh', '-c', line], { timeoutMs: 120_000 });
  return exitCode === 0 ? 'answered' : 'no answer';
}

async function connectFromHere(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  await new Promise<void>((resolve, reject) => {
    socket.once('close', () => resolve()).once('error', reject);
    socket.resume();
  });
}

const hex = (frame: Uint8Array, from: number, to: number) => Buffer.from(frame.subarray(from, to)).toString('hex');
const isFrom = (frame: Uint8Array, node: number) => hex(frame, 6, 12) === MAC(node).replaceAll(':', '');

function tableText(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
