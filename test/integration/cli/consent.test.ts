/** Consent from end to end on one machine: real `kith` processes, a real policy file and a real worker; guests and room are fakes. */
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLog } from '../../../src/base/log.ts';
import { startChild } from '../../../src/base/process.ts';
import { openOwner, type Owner } from '../../../src/peer/owner.ts';
import type { PolicyView, Requests } from '../../../src/control/api.ts';
import { socketOf } from '../../../src/control/directory.ts';
import { serveControl } from '../../../src/control/server.ts';
import type { RunningGuest } from '../../../src/guest/guest.ts';
import { checkJob } from '../../../src/job/define.ts';
import { makePlan } from '../../../src/job/plan.ts';
import { openWorker, type Worker } from '../../../src/job/worker.ts';
import { peerApi } from '../../../src/peer/api.ts';
import type { Peer } from '../../../src/peer/peer.ts';
import type { RequestOf } from '../../../src/protocol/messages.ts';
import { testConsent } from '../../harness/consent.ts';
import { trustingNotary } from '../../harness/notary.ts';
import { peerStatus, tempFolder, type TempFolder } from '../../harness/fake-peer.ts';
import { holdings, untilHolding, type Holdings } from '../../harness/leaks.ts';

const MAIN = new URL('../../../src/cli/main.ts', import.meta.url).pathname;
const DEVICE = '3f2a-90c1-0011-2233-4455-6677-8899-aabb';
const IMAGE = { name: 'micro', hash: 'a'.repeat(64), bytes: 1000 };
const JOB = '00000000-0000-4000-8000-000000000000';
const WAIT = { timeout: 30_000 };

let folder: TempFolder;
let runtime: string;
let policyFile: string;
let before: Holdings;
beforeEach(async () => {
  before = holdings();
  folder = await tempFolder();
  runtime = join(folder.path, 'kith');
  policyFile = join(folder.path, 'config', 'kith', 'policy.json');
});
afterEach(async () => {
  await folder[Symbol.asyncDispose]();
  await untilHolding(before);
});

function start(...args: string[]) {
  const child = startChild(process.execPath, [MAIN, ...args], {
    env: { XDG_RUNTIME_DIR: folder.path, XDG_CONFIG_HOME: join(folder.path, 'config'), TMPDIR: folder.path },
  });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream]?.on('data', (chunk: Buffer) => (output[stream] += chunk.toString()));
  return { child, output, ended: child.then(({ exitCode }) => ({ code: exitCode, ...output })) };
}
const kith = (...args: string[]) => start(...args).ended;
const json = async <T>(...args: string[]) => JSON.parse((await kith(...args, '--json')).stdout) as T;

/** A peer of this machine's owner, whose room is the test. */
async function openHost(name: string, role: 'peer' | 'worker' = 'peer') {
  await using stack = new AsyncDisposableStack();
  const told: string[] = [];
  const calls: string[] = [];
  const paths = { config: dirname(policyFile), state: '', cache: '', runtime };
  const owner: Owner = stack.use(
    await openOwner({
      role,
      confined: true,
      accept: undefined,
      limits: { memoryMiB: 1000, cpus: 2 },
      paths,
      log: silentLog,
      onChange: () => worker.reconsider(),
    }),
  );
  const worker: Worker = stack.use(
    openWorker({
      ...testConsent(),
      self: 'host@x/1',
      notary: trustingNotary,
      clock: systemClock,
      log: silentLog,
      policy: () => owner.policy(),
      whoIs: (jid) => ({ account: jid.split('/')[0] ?? jid, device: DEVICE, trust: 'invited' }),
      wallClock: () => new Date(),
      openWire: () => Promise.reject(new Error('no wires in this test')),
      sendReport: async (_, { report }) => told.push(`${report.state}: ${report.reason ?? ''}`),
      boot: async ({ guest }) => guestOf(guest.name, calls),
      onGuests: () => {},
    }),
  );
  const api = { ...peerApi({ worker, owner } as unknown as Peer), status: async () => peerStatus(name, role) };
  const path = socketOf(runtime, name);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  stack.use(await serveControl({ path, api, log: silentLog }));
  const request = (from: string, changes: Partial<RequestOf<'lease.request'>> = {}) => {
    const message: RequestOf<'lease.request'> = {
      kind: 'lease.request',
      job: JOB,
      jobName: 'mesh',
      role: 'worker',
      memoryMiB: 112,
      cpus: 1,
      image: IMAGE,
      seconds: 90,
      ...changes,
    };
    const asked = worker.handle(`${from}/1`, message) as Promise<{ readonly lease: string }>;
    asked.catch(() => {}); // the test looks at it later
    return asked;
  };
  /** The id under which it waits. */
  const waitingId = async () => {
    await expect.poll(() => worker.desk.waiting.length, WAIT).toBe(1);
    return worker.desk.waiting[0]?.id ?? '';
  };
  const boot = async (from: string, lease: string) => {
    const plan = makePlan({
      job: checkJob({ name: 'mesh', topology: 'star' }),
      id: JOB,
      revision: 1,
      initiator: `${from}/1`,
      members: [
        { peer: `${from}/1`, node: 1 },
        { peer: 'host@x/1', node: 2 },
      ],
      images: { micro: IMAGE },
      wires: ['stanza'],
      masterKey: `ssh-ed25519 ${'A'.repeat(68)}`,
    });
    await worker.handle(`${from}/1`, { kind: 'plan.apply', lease, plan });
    await expect.poll(() => worker.hostings[0]?.running?.name, WAIT).toBe('worker-1');
  };
  const owned = stack.move();
  return { worker, told, calls, request, waitingId, boot, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function guestOf(name: string, calls: string[]): RunningGuest {
  const exited = Promise.withResolvers<string>();
  const note = (what: string) => async () => void calls.push(what);
  return {
    name,
    port: { name, send: () => true, closed: exited.promise },
    exited: exited.promise,
    bootSeconds: 1,
    accelerator: 'tcg',
    residentMiB: async () => 100,
    pause: note('pause'),
    resume: note('resume'),
    limitCpu: async (percent: number | undefined) => void calls.push(`cpu ${String(percent)}`),
    async [Symbol.asyncDispose]() {
      calls.push('end');
      exited.resolve('ended');
    },
  } as unknown as RunningGuest;
}

test('a request waits, is shown and explained, allowed, and remembered for that very device', async () => {
  await using host = await openHost('a');
  const asked = host.request('anna@x');
  const id = await host.waitingId();

  const text = await kith('requests');
  expect([text.code, text.stderr]).toEqual([0, '']);
  expect(text.stdout).toContain(`request ${id}: a worker guest for job mesh\n`);
  expect(text.stdout).toContain(`anna@x (not verified: came by invitation, ${DEVICE})`);
  const { waiting } = await json<Requests>('requests');
  expect(waiting).toMatchObject([{ id, question: { who: { account: 'anna@x', device: DEVICE }, memoryMiB: 112 } }]);
  const why = await kith('policy', 'explain', id);
  expect(why.stdout).toContain('answer    waits for the owner');
  expect(why.stdout).toContain('from      what kith peer does by itself');

  const allowed = await kith('allow', id, '--remember');
  expect(allowed).toMatchObject({ code: 0, stderr: '' });
  expect(allowed.stdout).toContain(`from now on always: ${DEVICE}\n`);
  expect(await asked).toHaveProperty('lease');
  expect(JSON.parse(await readFile(policyFile, 'utf8'))).toEqual({ friends: { [DEVICE]: 'always' } });
  expect((await stat(policyFile)).mode & 0o777).toBe(0o600);

  expect(await host.request('anna@x')).toHaveProperty('lease'); // nobody is asked any more
  expect((await kith('policy', 'explain', id)).stdout).toContain('answer    yes (kith allow)');
  expect((await json<Requests>('requests')).decided.map(({ by }) => by)).toEqual(['policy', 'kith allow']);
});

test('who comes second with an answer is told, and changes nothing', async () => {
  await using host = await openHost('a');
  const asked = host.request('anna@x');
  const id = await host.waitingId();
  expect(await kith('refuse', id, '--remember')).toMatchObject({ code: 0 });
  await expect(asked).rejects.toMatchObject({ code: 'job.refused' });
  expect(JSON.parse(await readFile(policyFile, 'utf8'))).toEqual({ friends: { 'anna@x': 'never' } });
  const late = await kith('allow', id, '--remember');
  expect(late).toMatchObject({ code: 1, stdout: '' });
  expect(late.stderr).toContain(`request ${id} has its answer already: no (kith refuse)`);
  expect(JSON.parse(await readFile(policyFile, 'utf8'))).toEqual({ friends: { 'anna@x': 'never' } });
  await expect(host.request('anna@x')).rejects.toThrow(/takes no guests from anna@x/);
  expect(host.worker.inUse.guests).toBe(0);
});

test('of several peers the one that has the request answers', async () => {
  await using one = await openHost('a');
  await using other = await openHost('b');
  const asked = other.request('anna@x');
  const id = await other.waitingId();
  expect((await kith('allow', id)).code).toBe(0);
  expect(await asked).toHaveProperty('lease');
  expect(one.worker.inUse.guests).toBe(0);
  expect((await kith('allow', 'nothing')).code).toBe(69);
});

test('a policy that is set ends leases at once; a broken one is said and changes nothing', async () => {
  await using host = await openHost('a', 'worker');
  const { lease } = await host.request('anna@x');
  await host.boot('anna@x', lease);
  expect(await kith('policy', 'set', 'guests', '1')).toMatchObject({ code: 0, stdout: 'guests 1, in force at a\n' });
  expect(host.worker.inUse.guests).toBe(1);

  await writeFile(policyFile, '{"caps":{"memoryMiB":64},"colour":"red"}');
  await expect.poll(async () => (await json<PolicyView>('policy')).fault, WAIT).toContain('(colour)');
  expect((await kith('policy')).stdout).toContain('BROKEN, the last good one is in force: ');
  expect((await kith('policy', 'check')).code).toBe(64);
  expect((await kith('policy', 'set', 'guests', '2')).code).toBe(64);
  expect([host.worker.inUse.guests, host.calls]).toEqual([1, []]);

  await writeFile(policyFile, '{"caps":{"memoryMiB":100}}');
  await expect.poll(() => host.worker.inUse.guests, WAIT).toBe(0);
  expect(host.calls).toEqual(['end']);
  expect(host.told.at(-1)).toBe(
    'stopped: ended by its owner: not enough memory: 100 MiB left for guests, 112 were asked for',
  );
  const { rows, fault } = await json<PolicyView>('policy');
  expect(fault).toBeUndefined();
  expect(rows.find(({ key }) => key === 'caps.memoryMiB')).toMatchObject({
    value: 100,
    place: 'policy.json caps.memoryMiB',
  });
  expect(rows.find(({ key }) => key === 'caps.cpus')).toMatchObject({ place: '--cpus or limits.cpus in config.json' });
});

test('kith policy friend takes effect on leases that run', async () => {
  await using host = await openHost('a', 'worker');
  await host.request('anna@x');
  expect((await kith('policy', 'friend', 'anna@x', 'never')).code).toBe(0);
  await expect.poll(() => host.worker.inUse.guests, WAIT).toBe(0);
  expect(host.told).toEqual(['stopped: ended by its owner: the owner takes no guests from anna@x']);
});

test("kith pause, limits and resume are the owner's hand on guests", async () => {
  await using host = await openHost('a', 'worker');
  expect((await kith('limits')).stdout).toBe('no guest runs here\n');
  const { lease } = await host.request('anna@x');
  await host.boot('anna@x', lease);
  expect((await kith('pause')).stdout).toMatch(/worker-1 +paused +no cap/);
  expect((await kith('limits', 'cpu', '50%')).stdout).toMatch(/worker-1 +paused +50%/);
  expect(await json('resume', 'worker-1')).toEqual({
    ok: true,
    guests: [{ guest: 'worker-1', paused: false, cpuPercent: 50 }],
  });
  expect((await kith('limits', 'cpu', 'none')).stdout).toMatch(/worker-1 +running +no cap/);
  expect(host.calls).toEqual(['pause', 'cpu 50', 'resume', 'cpu undefined']);
  expect((await kith('pause', 'worker-9')).stderr).toContain('no guest worker-9 runs on this peer');
});

test('kith requests --follow prints each request once, as it comes', async () => {
  await using host = await openHost('a');
  const { child, output, ended } = start('requests', '--follow', '--json');
  const lines = () => output.stdout.trim().split('\n').filter(Boolean);
  void host.request('anna@x');
  await expect.poll(() => lines().length, WAIT).toBe(1);
  void host.request('ben@x');
  await expect.poll(() => lines().length, WAIT).toBe(2);
  child.kill('SIGINT');
  expect((await ended).code).toBe(0);
  const accounts = lines().map((line) => (JSON.parse(line) as Requests['waiting'][number]).question.who.account);
  expect(accounts).toEqual(['anna@x', 'ben@x']);
});

test('without a peer: the policy as kith peer would begin with it, changed and checked', async () => {
  expect((await json<PolicyView>('policy')).rows.find(({ key }) => key === 'default')).toMatchObject({
    place: 'by itself',
  });
  expect(await kith('policy', 'check')).toMatchObject({
    code: 0,
    stdout: `there is no ${policyFile}: defaults apply\n`,
  });
  expect(await kith('policy', 'set', 'hours', '22:00-07:00')).toMatchObject({ code: 0, stdout: 'hours 22:00-07:00\n' });
  expect(await kith('policy', 'friend', 'first-sight', 'never')).toMatchObject({ code: 0 });
  const { rows } = await json<PolicyView>('policy');
  expect(rows).toContainEqual({ key: 'friends.first-sight', value: 'never', place: 'policy.json' });
  expect(await json('policy', 'check')).toEqual({ ok: true, path: policyFile, exists: true });
});

test.each([
  [['policy', 'paint']],
  [['policy', 'set', 'hours']],
  [['policy', 'set', 'lan', 'yes']],
  [['policy', 'set', 'colour', 'red']],
  [['policy', 'friend', 'anna', 'always']],
  [['policy', 'check', '/nowhere/policy.json']],
  [['policy', 'explain']],
  [['allow']],
  [['refuse', 'a', 'b']],
  [['requests', 'all']],
  [['limits', 'memory', '1']],
  [['limits', 'cpu']],
  [['limits', 'cpu', '101%']],
  [['limits', 'cpu', '4%']],
  [['pause', 'a', 'b']],
])('wrong words are exit code 64: kith %j', async (args) => {
  const { code, stdout, stderr } = await kith(...args);
  expect([code, stdout]).toEqual([64, '']);
  expect(stderr).toMatch(/^error: .+; .+\n$/);
});
