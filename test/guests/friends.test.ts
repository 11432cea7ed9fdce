/** Two fresh homes, nothing but a link between them: one LAN of real guests with pinned keys, until one of them is banned. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { PeerStatus } from '../../src/control/api.ts';
import { JOBS, lastJson, openWorld, poll, type World } from '../harness/kith.ts';

/** A user account of its own, as far as kith can tell; images alone are shared. */
function home(world: World, name: string) {
  const folder = join(world.folder, name);
  mkdirSync(join(folder, 'r'), { recursive: true, mode: 0o700 });
  const env = {
    XDG_STATE_HOME: join(folder, 's'),
    XDG_CONFIG_HOME: join(folder, 'c'),
    XDG_RUNTIME_DIR: join(folder, 'r'),
  };
  const start = (...args: readonly string[]) => world.start([...args, '--json'], { env });
  const kith = async (...args: readonly string[]) => {
    const ended = await start(...args).ended;
    expect([args, ended.code, ended.code === 0 ? '' : ended.stdout + ended.stderr]).toEqual([args, 0, '']);
    return lastJson(ended);
  };
  return { start, kith };
}

it('brings friends who have a link and nothing else onto one LAN, and a ban off it', async () => {
  await using world = await openWorld();
  const [ann, ben] = [home(world, 'ann'), home(world, 'ben')];
  await ann.start('host').ready;
  const join1 = async (who: typeof ann, nick: string) => {
    const { link } = await ann.kith('invite');
    const file = join(world.folder, `link-${nick}`);
    writeFileSync(file, `${String(link)}\n`, { mode: 0o600 });
    await who.kith('join', '--file', file, '--nick', nick);
  };
  await join1(ann, 'ann');
  await join1(ben, 'ben');

  const worker = ben.start('worker', '--nick', 'ben', '--wire-address', '127.0.0.1');
  await worker.ready;
  const run = ann.start(
    'run',
    join(JOBS, 'star.ts'),
    '--nick',
    'ann',
    '--min',
    '1',
    '--hold',
    '--wire-address',
    '127.0.0.1',
  );
  expect(await run.ready).toMatchObject({
    ok: true,
    result: { pairs: 2, reachable: 2 },
    peers: [{ nick: 'ben', trust: 'invited' }],
  });
  expect((await ben.kith('contacts'))['contacts']).toEqual(
    expect.arrayContaining([expect.objectContaining({ pin: 'invited' })]),
  );

  await ann.kith('ban', 'ben');
  // The banned peer leaves by itself; its guest and all wires to it go, and the initiator's list has one guest.
  expect((await worker.ended).code).not.toBe(0);
  expect(worker.output.stdout + worker.output.stderr).toContain('banned');
  await poll(
    'a LAN without the banned peer',
    async () => {
      const status = (await ann.kith('ps')) as unknown as PeerStatus;
      return status.guests.every(({ name }) => name === 'master') && status.links.length === 0;
    },
    60_000,
  );
  const again = await ben.start('worker', '--nick', 'ben').ended;
  expect(again.code).not.toBe(0);
});
