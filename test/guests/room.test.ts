/** One room, one held job: what its owner sees and does with the command line, and who comes and goes meanwhile. */
import { createHash } from 'node:crypto';
import { chmodSync, cpSync, existsSync, globSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { kithPaths } from '../../src/base/paths.ts';
import type { PeerStatus } from '../../src/control/api.ts';
import { JOBS, lastJson, openWorld, poll, processesOf, type KithProcess, type World } from '../harness/kith.ts';

// The tests tell one story, in their order: w1 and w2 are there from the start, w3 comes late with an empty image
// cache, w4 with a spoiled one, w2 is killed, the owner ends the job.
let world: World;
let initiator: KithProcess;
const workers = new Map<string, KithProcess>();

/** A guest boots in seconds; on a busy machine under software emulation in many more. */
const BOOT_MS = 120_000;
/** A dead peer is silent for 30 s before the room takes it for dead. */
const DEATH_MS = 90_000;

beforeAll(async () => {
  world = await openWorld();
  await world.host();
  for (const name of ['w1', 'w2']) workers.set(name, await world.worker(name));
  initiator = world.start(['run', join(JOBS, 'mesh.ts'), '--json', ...world.as('boss'), '--min', '2', '--hold']);
  await initiator.ready;
});

afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

/** In the guest, through the initiator. */
const inGuest = (guest: string, ...command: string[]) => world.run(['exec', guest, '--peer', 'boss', '--', ...command]);

async function status(): Promise<PeerStatus> {
  const ended = await world.run(['ps', '--json', '--peer', 'boss']);
  if (ended.code !== 0) throw new Error(`kith ps: ${ended.stdout}${ended.stderr}`);
  return lastJson(ended) as unknown as PeerStatus;
}

const namesOf = ({ guests }: PeerStatus) => guests.map(({ name }) => name);
const guestOf = (peer: string, { guests }: PeerStatus) => guests.find((guest) => guest.peer === peer);
/** Not the box around it, whose command line ends with the same words. */
const qemuOf = (guest: string) =>
  processesOf(world.folder).filter((line) => /^\d+ \S*qemu-system-/.test(line) && line.includes(` -name ${guest} `));

it('comes up: everybody reaches everybody', async () => {
  expect(await initiator.ready).toMatchObject({ ok: true, result: { pairs: 6, reachable: 6 } });
});

it('shows guests that are up and links with their wire and round trip', async () => {
  const seen = await poll(
    'round trips of all links',
    async () => {
      const now = await status();
      return now.links.length === 3 && now.links.every(({ roundTripMs }) => roundTripMs !== undefined) && now;
    },
    60_000,
  );
  expect(seen.peer).toMatchObject({ name: 'boss', role: 'initiator', pid: initiator.pid });
  expect(seen.job).toMatchObject({ name: 'mesh', topology: 'mesh', subnet: '10.77.0.0/24' });
  expect(seen.guests.map(({ name, role, address, state }) => `${name} ${role} ${address} ${state}`)).toEqual([
    'master master 10.77.0.1 up',
    'worker-1 worker 10.77.0.2 up',
    'worker-2 worker 10.77.0.3 up',
  ]);
  expect(seen.guests.map(({ peer }) => peer).sort()).toEqual(['boss', 'w1', 'w2']);
  for (const { wire, sentBytes, receivedBytes } of seen.links) {
    expect(wire).toBe('direct');
    expect(sentBytes).toBeGreaterThan(0);
    expect(receivedBytes).toBeGreaterThan(0);
  }
  // Everybody but the peer that is asked.
  expect(seen.occupants.map(({ nick }) => nick).sort()).toEqual(['host', 'w1', 'w2']);
  const text = await world.run(['ps', '--peer', 'boss']);
  expect(text.stdout).toMatch(/worker-2 +worker +02:\S+ +10\.77\.0\.3 +w[12] +up/);
});

it('runs commands in guests: output, error output, exit codes, and a guest that does not exist', async () => {
  const address = await inGuest('worker-1', 'ip', 'addr');
  expect(address).toMatchObject({ code: 0, stderr: '' });
  expect(address.stdout).toContain('inet 10.77.0.2/24');
  expect(await inGuest('worker-2', 'sh', '-c', 'echo no >&2; exit 3')).toEqual({ code: 3, stdout: '', stderr: 'no\n' });
  // Larger than one message of the room: 300 kB in pages, byte for byte.
  const large = await inGuest('worker-1', 'sh', '-c', 'yes 0123456789abcde | head -c 300000');
  expect(large.code).toBe(0);
  expect(large.stdout === '0123456789abcde\n'.repeat(18_750)).toBe(true);
  const nobody = await world.run(['exec', 'worker-9', '--peer', 'boss', '--json', '--', 'true']);
  expect(nobody.code).not.toBe(0);
  expect(lastJson(nobody)).toMatchObject({ ok: false, error: { code: 'job.no-guest' } });
  expect(nobody.stdout).toContain('worker-9');
});

it('lets the master into each worker by ssh, by name', async () => {
  for (const name of ['worker-1', 'worker-2']) {
    const { code, stdout, stderr } = await inGuest('master', 'ssh', name, 'hostname');
    expect({ code, stdout, stderr }).toMatchObject({ code: 0, stdout: `${name}\n` });
  }
});

it("shows a guest's console from the first line on", async () => {
  const { code, stdout } = await world.run(['logs', 'worker-1', '--peer', 'boss']);
  expect(code).toBe(0);
  // The kernel of the micro image is quiet (half a second of each boot), so its init has the first word, unless something is wrong:
  // on a busy host emulated timers are late, and the kernel says so.
  expect(stdout).toMatch(/^(\[ *\d+\.\d+\] .*\r?\n)*kith: ready\r?\n/);
  expect(stdout).toContain('kith: address 10.77.0.2');
});

it('gives a worker that comes later a guest, its image by data channel, and an address', async () => {
  const cache = join(world.folder, 'cache');
  const late = world.start(['worker', '--json', ...world.as('w3')], { env: { XDG_CACHE_HOME: cache } });
  workers.set('w3', late);
  await late.ready;
  const up = await poll(
    'a third worker guest',
    async () => {
      const guest = guestOf('w3', await status());
      return guest?.state === 'up' && guest;
    },
    BOOT_MS,
  );
  expect(up).toMatchObject({ name: 'worker-3', address: '10.77.0.4' });
  await poll(
    'an answer from the newcomer',
    async () => (await inGuest('master', 'ping', '-c', '1', '-W', '2', 'worker-3')).code === 0,
    60_000,
  );
  expect((await inGuest('worker-3', 'ip', 'addr')).stdout).toContain('inet 10.77.0.4/24');
  expect((await inGuest('worker-1', 'ping', '-c', '1', '-W', '5', '10.77.0.4')).code).toBe(0);
  // The image came over the wire: there is no recipe in that cache, and every file is what the manifest says.
  const images = join(cache, 'kith', 'images');
  const [hash = '', ...others] = readdirSync(images).filter((name) => !name.startsWith('.'));
  expect(others).toEqual([]);
  const manifest = readFileSync(join(images, hash, 'MANIFEST.json'));
  expect(createHash('sha256').update(manifest).digest('hex')).toBe(hash);
  const { kernel } = JSON.parse(manifest.toString()) as { kernel: { file: string; sha256: string } };
  expect(
    createHash('sha256')
      .update(readFileSync(join(images, hash, kernel.file)))
      .digest('hex'),
  ).toBe(kernel.sha256);
  expect(late.output.stderr).toContain('image fetched');
});

it('refuses a spoiled image on the disk of a worker, and fetches a good one', async () => {
  const cache = join(world.folder, 'spoiled');
  const { cache: good } = kithPaths();
  cpSync(join(good, 'images'), join(cache, 'kith', 'images'), { recursive: true });
  for (const kernel of globSync(join(cache, 'kith', 'images', '*', 'kernel'))) {
    chmodSync(kernel, 0o600);
    const bytes = readFileSync(kernel);
    bytes.writeUInt8((bytes.at(-1) ?? 0) ^ 1, bytes.length - 1);
    writeFileSync(kernel, bytes);
  }
  const late = world.start(['worker', '--json', ...world.as('w4')], { env: { XDG_CACHE_HOME: cache } });
  await late.ready;
  await poll('its guest', async () => guestOf('w4', await status())?.state === 'up', BOOT_MS);
  expect(late.output.stderr).toMatch(/stored image refused.*\/kernel is not what was stored/);
  expect(late.output.stderr).toContain('image fetched');
  await late.stop();
  await poll('its place is free again', async () => guestOf('w4', await status()) === undefined, DEATH_MS);
});

it('forgets a worker that is killed: its guest and files go at once, the others still reach each other', async () => {
  const killed = workers.get('w2') as KithProcess;
  const name = guestOf('w2', await status())?.name as string;
  const survivor = guestOf('w1', await status()) as { name: string; address: string };
  // The initiator, its worker and the guest's host all have such a QEMU on this one machine: the guest of w2 alone goes.
  expect(qemuOf(name)).toHaveLength(1);
  expect(existsSync(join(world.runtime, 'w2', 'control.sock'))).toBe(true);
  await killed.stop('SIGKILL');
  await poll('QEMU gone', () => qemuOf(name).length === 0, 10_000);
  await poll('run directory gone', () => !existsSync(join(world.runtime, 'w2')), 10_000);
  const seen = await poll(
    'a list of guests without it',
    async () => {
      const now = await status();
      return !namesOf(now).includes(name) && now;
    },
    DEATH_MS,
  );
  expect(namesOf(seen)).toHaveLength(3);
  // Its links tell sooner than the server does that it is gone.
  await poll(
    'a room without it',
    async () => !(await status()).occupants.some(({ nick, alive }) => nick === 'w2' && alive),
    DEATH_MS,
  );
  for (const [from, to] of [
    ['master', survivor.address],
    [survivor.name, '10.77.0.4'],
    ['worker-3', '10.77.0.1'],
  ] as const) {
    expect((await inGuest(from, 'ping', '-c', '1', '-W', '5', to)).code).toBe(0);
  }
});

it('ends on kith down and gives everything back, while the room goes on', async () => {
  const down = await world.run(['down', '--peer', 'boss']);
  expect(down).toMatchObject({ code: 0 });
  expect((await initiator.ended).code).toBe(0);
  expect(existsSync(join(world.runtime, 'boss'))).toBe(false);
  await poll(
    'no guest anywhere',
    () => processesOf(world.folder).every((line) => !line.includes('qemu-system-')),
    15_000,
  );
  // Workers stay for the next job.
  const w1 = lastJson(await world.run(['ps', '--json', '--peer', 'w1'])) as unknown as PeerStatus;
  expect(w1.guests).toEqual([]);
  expect(w1.job).toBeUndefined();
});
