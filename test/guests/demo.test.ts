/** `kith demo`: server, initiator and workers as separate processes, up to the sweep of their LAN, and nothing left. */
import { expect, it } from 'vitest';
import { lastJson, openWorld, poll, processesOf, untilEmpty } from '../harness/kith.ts';
import { findProgram } from '../../src/base/process.ts';
import { probeConfinement } from '../../src/guest/confinement.ts';

interface DemoReport {
  readonly ok: boolean;
  readonly topology: string;
  readonly guests: readonly {
    readonly name: string;
    readonly role: string;
    readonly mac: string;
    readonly address: string;
    readonly peer: string;
    readonly bootSeconds: number;
  }[];
  readonly reachable: number;
  readonly pairs: number;
  readonly seconds: Readonly<Record<string, number>>;
  readonly links: readonly { readonly from: string; readonly to: string; readonly wire: string }[];
  readonly peers: readonly { readonly nick: string; readonly trust: string; readonly because: string }[];
  readonly confinement: readonly string[];
}

/** What holds guests on this machine. */
const held = (await probeConfinement({ qemu: findProgram('qemu-system-x86_64') ?? '' }))
  .filter(({ ok }) => ok)
  .map(({ name }) => name);

/** What the issue promises for three guests; links and seconds are looked at by each test. */
function expectThreeGuests(report: DemoReport, topology: string): void {
  expect(report).toMatchObject({ ok: true, topology, reachable: 6, pairs: 6 });
  expect(Object.keys(report).sort()).toEqual(
    ['confinement', 'guests', 'links', 'ok', 'pairs', 'peers', 'reachable', 'seconds', 'topology'].sort(),
  );
  // Nobody but the host has met them: each is trusted by the host's word, and the guests run in the box.
  expect(report.peers.map(({ nick, trust }) => `${nick} ${trust}`).sort()).toEqual([
    'friend-1 invited',
    'friend-2 invited',
  ]);
  for (const { because } of report.peers) expect(because).toMatch(/^certificate of /);
  expect(report.confinement).toEqual(held);
  expect(Object.keys(report.seconds).sort()).toEqual(['guests', 'images', 'rooms', 'total']);
  expect(Math.min(...Object.values(report.seconds))).toBeGreaterThanOrEqual(0);
  expect(report.guests.map(({ name, role, address }) => `${name} ${role} ${address}`)).toEqual([
    'master master 10.77.0.1',
    'worker-1 worker 10.77.0.2',
    'worker-2 worker 10.77.0.3',
  ]);
  expect(new Set(report.guests.map(({ mac }) => mac)).size).toBe(3);
  for (const { mac, bootSeconds } of report.guests) {
    expect(mac).toMatch(/^02(:[0-9a-f]{2}){5}$/);
    expect(bootSeconds).toBeGreaterThan(0);
  }
  const [master, ...workers] = report.guests.map(({ peer }) => peer);
  expect(master).toBe('initiator');
  expect(workers.sort()).toEqual(['friend-1', 'friend-2']);
}

it('ends a mesh of three guests with one line of JSON: everybody reaches everybody, over every link', async () => {
  await using world = await openWorld();
  const ended = await world.run(['demo', '--topology', 'mesh', '--workers', '2', '--json']);
  expect(ended).toMatchObject({ code: 0 });
  expect(ended.stdout.trimEnd().split('\n')).toHaveLength(1);
  const report = lastJson(ended) as unknown as DemoReport;
  expectThreeGuests(report, 'mesh');
  expect(report.links.map(({ from, to, wire }) => `${from} ${to} ${wire}`).sort()).toEqual([
    'master worker-1 direct',
    'master worker-2 direct',
    'worker-1 worker-2 direct',
  ]);
  // Each child ends before the demo does: no waiting here.
  expect(world.leftovers()).toEqual([]);
});

it('ends a star with links of the master alone, and a table and the sweep for people', async () => {
  await using world = await openWorld();
  const ended = await world.run(['demo', '--topology', 'star', '--workers', '2']);
  expect(ended).toMatchObject({ code: 0 });
  expect(ended.stdout).toMatch(/^guest +role +mac +address +peer +boot s$/m);
  expect(ended.stdout).toMatch(/^worker-2 +worker +02:\S+ +10\.77\.0\.3 +friend-[12] +\d+\.\d$/m);
  expect(ended.stdout).toContain('3 of 3 hosts in the sweep, 6 of 6 pairs of guests reach each other');
  expect(ended.stdout + ended.stderr).toMatch(/Nmap done: 256 IP addresses \(3 hosts up\)/);
  expect(world.leftovers()).toEqual([]);
});

it('comes as far through the chat server alone, at the rate that a stock Prosody allows', async () => {
  await using world = await openWorld();
  const ended = await world.run(['demo', '--workers', '1', '--wire', 'stanza', '--json']);
  expect(ended).toMatchObject({ code: 0 });
  const { ok, reachable, pairs, links } = lastJson(ended) as unknown as DemoReport;
  expect({ ok, reachable, pairs, links }).toEqual({
    ok: true,
    reachable: 2,
    pairs: 2,
    links: [{ from: 'master', to: 'worker-1', wire: 'stanza' }],
  });
  expect(world.leftovers()).toEqual([]);
});

it('leaves nothing when Ctrl-C comes while the guests boot', async () => {
  await using world = await openWorld();
  const demo = world.start(['demo', '--workers', '2', '--json']);
  await poll('a guest of the demo', () => qemus(world.folder).length > 0, 120_000);
  // Proof that what is asserted to be gone below would be seen.
  const seen = world.leftovers().join('\n');
  for (const part of ['qemu-system-', 'prosody', 'control.sock', 'kith-demo-']) expect(seen).toContain(part);
  const { code } = await demo.stop('SIGINT');
  expect(code).toBe(130);
  expect(world.leftovers()).toEqual([]);
});

it('takes everything with it when the demo itself is killed', async () => {
  await using world = await openWorld();
  const demo = world.start(['demo', '--workers', '1', '--json']);
  await poll('a guest of the demo', () => qemus(world.folder).length > 0, 120_000);
  await demo.stop('SIGKILL');
  expect(await untilEmpty(world.leftovers)).toEqual([]);
});

/** QEMU with a guest in it; the accelerator probe starts short ones without. */
const qemus = (folder: string) => processesOf(folder).filter((line) => /qemu-system-.* -name /.test(line));
