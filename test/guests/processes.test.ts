/** kill -9 of each kind of process in turn: what was its own goes with it, everybody else goes on. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { PeerStatus } from '../../src/control/api.ts';
import { JOBS, lastJson, openWorld, poll, processesOf, type KithProcess, type World } from '../harness/kith.ts';

let world: World;
let host: KithProcess;
let worker: KithProcess;
let initiator: KithProcess;

/** Done by the kernel and by watchers that wait for a death: moments, on a busy machine a little longer. */
const MOMENT_MS = 15_000;

beforeAll(async () => {
  world = await openWorld();
  host = await world.host();
  worker = await world.worker('w1');
  initiator = world.start(['run', join(JOBS, 'star.ts'), '--json', ...world.as('boss'), '--min', '1', '--hold']);
  await initiator.ready;
});

afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

/** QEMU itself: the box around it names it in its own arguments. */
const qemuOf = (guest: string, of: World = world) =>
  processesOf(of.folder).filter((line) => /^\d+ \S*qemu-system-/.test(line) && line.includes(` -name ${guest} `));
const prosodies = (of: World) => processesOf(of.folder).filter((line) => /^\d+ \S*(lua\S*|prosody) /.test(line));

it('an initiator takes its guest and its files with it; guests of others stay until their leases end', async () => {
  expect([qemuOf('master').length, qemuOf('worker-1').length]).toEqual([1, 1]);
  await initiator.stop('SIGKILL');
  await poll('the master guest is gone', () => qemuOf('master').length === 0, MOMENT_MS);
  await poll('its run directory is gone', () => !existsSync(join(world.runtime, 'boss')), MOMENT_MS);
  expect(qemuOf('worker-1')).toHaveLength(1);
  const { guests } = lastJson(await world.run(['ps', '--json', '--peer', 'w1'])) as unknown as PeerStatus;
  expect(guests.find(({ name }) => name === 'worker-1')).toMatchObject({ state: 'up' });
});

it('its name is free again at once, and a new job gets the worker that is left', async () => {
  // The worker has room for a second guest beside the one of the dead job.
  const again = world.start(['run', join(JOBS, 'star.ts'), '--json', ...world.as('boss'), '--min', '1']);
  expect(await again.ready).toMatchObject({ ok: true, result: { pairs: 2, reachable: 2 } });
  expect((await again.ended).code).toBe(0);
  expect(qemuOf('worker-1')).toHaveLength(1);
});

it('Prosody: its host ends with a clear word, peers keep their guests and try to come back', async () => {
  const [prosody, ...others] = prosodies(world);
  expect(others).toEqual([]);
  process.kill(Number(prosody?.split(' ')[0]), 'SIGKILL');
  const ended = await host.ended;
  expect(ended.code).toBe(1);
  expect(lastJson(ended)).toMatchObject({ ok: false, error: { code: 'host.ended' } });
  expect(processesOf(world.folder).filter((line) => line.includes('/host-'))).toEqual([]);
  const { peer, guests } = lastJson(await world.run(['ps', '--json', '--peer', 'w1'])) as unknown as PeerStatus;
  expect(peer.pid).toBe(worker.pid);
  expect(guests.find(({ name }) => name === 'worker-1')).toMatchObject({ state: 'up' });
  // Told to go while it has no server, it goes, and takes the guest along.
  expect((await worker.stop('SIGTERM')).code).toBe(0);
  expect(world.leftovers()).toEqual([]);
});

it('a host takes Prosody and its files with it', async () => {
  await using other = await openWorld();
  const victim = await other.host();
  expect(prosodies(other)).toHaveLength(1);
  await victim.stop('SIGKILL');
  await poll('Prosody is gone', () => prosodies(other).length === 0, MOMENT_MS);
  await poll('everything is gone', () => other.leftovers().length === 0, MOMENT_MS);
});

it('a QEMU: its job misses the guest and says so, its host stays', async () => {
  await using room = await openWorld();
  await room.host();
  const w1 = await room.worker('w1');
  const run = room.start(['run', join(JOBS, 'star.ts'), '--json', ...room.as('boss'), '--min', '1', '--hold']);
  await run.ready;
  const [qemu] = qemuOf('worker-1', room);
  process.kill(Number(qemu?.split(' ')[0]), 'SIGKILL');
  await poll('the job has let it go', () => /worker lost/.test(run.output.stderr), MOMENT_MS);
  const seen = lastJson(await room.run(['ps', '--json', '--peer', 'boss'])) as unknown as PeerStatus;
  expect(seen.guests.map(({ name, state }) => `${name} ${state}`)).toEqual(['master up']);
  const { peer, guests } = lastJson(await room.run(['ps', '--json', '--peer', 'w1'])) as unknown as PeerStatus;
  expect({ pid: peer.pid, guests }).toEqual({ pid: w1.pid, guests: [] });
});
