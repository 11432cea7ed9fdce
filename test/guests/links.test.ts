/** Links in hand, with real guests: pings feel a shape, tshark sees them in captures, a cut is a cut. */
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { findProgram, runCommand } from '../../src/base/process.ts';
import { JOBS, openWorld, poll, type KithProcess, type World } from '../harness/kith.ts';

// The tests tell one story, in their order: a job shapes its own link and holds the LAN, then its owner takes the link in hand.
let world: World;
let initiator: KithProcess;

/** A command of the captures' owner: of the initiator, unless another peer is named. */
const kith = (command: string, ...args: string[]) => world.run([command, '--peer', 'boss', ...args]);
const inMaster = (...command: string[]) => kith('exec', 'master', '--', ...command);
const ping = (...options: string[]) => inMaster('ping', '-c', '5', '-W', '10', ...options, '10.77.0.2');

beforeAll(async () => {
  world = await openWorld();
  await world.host();
  await world.worker('w1');
  const job = join(JOBS, 'shaped.ts');
  initiator = world.start(['run', job, '--json', ...world.as('boss'), '--min', '1', '--hold']);
  await initiator.ready;
});
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

it('a job shapes its link, and its guests feel it', async () => {
  const { result } = (await initiator.ready) as {
    result: { results: { roundTripMs: number }[] };
  };
  const [, delayed, jittered, lossy] = result.results;
  // Delays are lower bounds, whatever else the machine is busy with; what a ping takes without one is not for a test to say.
  expect(delayed?.roundTripMs).toBeGreaterThanOrEqual(100);
  expect(jittered?.roundTripMs).toBeGreaterThanOrEqual(80);
  expect(lossy?.roundTripMs).toBeGreaterThanOrEqual(40);
});

it('its owner shapes it from outside, and sees what is set', async () => {
  const shaped = await kith('shape', 'master', 'worker-1', '--delay', '50ms', '--there');
  expect(shaped.stdout).toMatch(/master -> worker-1 .* delay 50ms /);
  const { stdout } = await ping();
  const times = [...stdout.matchAll(/time=([\d.]+) ms/g)].map(([, time]) => Number(time));
  expect(times).toHaveLength(5);
  expect(Math.min(...times)).toBeGreaterThanOrEqual(50);

  await kith('shape', 'master', 'worker-1', '--loss', '100%');
  expect(await inMaster('ping', '-c', '3', '-W', '2', '10.77.0.2')).toMatchObject({ code: 1 });
  await kith('shape', 'master', 'worker-1', '--clear');
  expect((await ping()).code).toBe(0);
  expect(await kith('shape', 'master', 'worker-1', '--delay', '20')).toMatchObject({ code: 64 });
  expect(await kith('link', 'worker-1', 'worker-2')).toMatchObject({
    code: 64,
    stderr: 'error: there is no link worker-1 - worker-2; the links are master - worker-1\n',
  });
});

it('captures of both guests and of the link show the echoes to tshark', async ({ skip }) => {
  if (!findProgram('tshark')) skip('tshark is not installed');
  // The master is on the peer that is asked; worker-1 is reached through the room; its owner looks for himself, too.
  const captures = [
    ['boss', 'master'],
    ['boss', 'worker-1'],
    ['boss', 'master,worker-1'],
    ['w1', 'worker-1'],
    ['w1', 'worker-1,master'],
  ].map(([peer = '', target = ''], i) => {
    const file = join(world.folder, `${i}.pcapng`);
    return { file, peer, target, process: world.start(['capture', target, '--peer', peer, '-w', file]) };
  });
  await poll('all captures run', () => captures.every((each) => each.process.output.stderr.includes('Ctrl-C')), 60_000);
  expect((await ping('-s', '1000')).code).toBe(0);
  for (const { file, process, target, peer } of captures) {
    const echoes = async () => {
      const { stdout } = await runCommand(
        'tshark',
        ['-n', '-r', file, '-Y', 'icmp.type == 8 && frame.len == 1042', '-T', 'fields', '-e', 'icmp.seq'],
        { timeoutMs: 60_000 },
      );
      return stdout.trim().split('\n');
    };
    // Pages come a moment later than frames.
    await poll(`five echoes of ${target} at ${peer}`, async () => (await echoes()).length === 5, 60_000);
    expect(await process.stop('SIGINT')).toMatchObject({ code: 0 });
    expect(await echoes()).toEqual(['0', '1', '2', '3', '4']);
  }
});

it('a cut is a cut, until the link is restored', async () => {
  await kith('link', 'master', 'worker-1', '--cut');
  await poll(
    'the link is down',
    async () => (await kith('link', 'master', 'worker-1')).stdout.match(/ down /g)?.length === 2,
    60_000,
  );
  expect(await inMaster('ping', '-c', '1', '-W', '2', '10.77.0.2')).toMatchObject({ code: 1 });
  await kith('link', 'master', 'worker-1', '--restore');
  await poll('an answer', async () => (await ping()).code === 0, 60_000);
});
