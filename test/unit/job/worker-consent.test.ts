/** An owner's policy and the leases that run: what changes, ends, is told, and what the owner's hand does to guests. */
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import type { RunningGuest } from '../../../src/guest/guest.ts';
import { checkJob } from '../../../src/job/define.ts';
import { makePlan } from '../../../src/job/plan.ts';
import { createRate, limitPort, limitRuns } from '../../../src/job/policy-rate.ts';
import type { Policy, PolicyFile, Trust } from '../../../src/job/policy.ts';
import { openWorker, type Worker } from '../../../src/job/worker.ts';
import type { RequestOf } from '../../../src/protocol/messages.ts';
import { testConsent, testPolicy } from '../../harness/consent.ts';
import { trustingNotary } from '../../harness/notary.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const IMAGE = { name: 'micro', hash: 'a'.repeat(64), bytes: 1000 };
const JOB = '00000000-0000-4000-8000-000000000000';
const LEASE: RequestOf<'lease.request'> = {
  kind: 'lease.request',
  job: JOB,
  jobName: 'mesh',
  role: 'worker',
  memoryMiB: 112,
  cpus: 1,
  image: IMAGE,
  seconds: 90,
};

/** A worker whose owner, clocks and guests are in the test's hand. */
function openHost(first: Partial<Policy> = {}, trust: Trust = 'verified') {
  const clock = virtualClock();
  const host = {
    clock,
    policy: testPolicy({ role: 'worker', accept: undefined, ...first }),
    trust,
    /** Wall clock; moves only by hand. */
    now: new Date(2026, 10, 21, 6, 0),
    told: [] as { readonly to: string; readonly state: string; readonly reason: string | undefined }[],
    announced: 0,
    booted: [] as { readonly name: string; readonly diskMiB: number | undefined }[],
    calls: [] as string[],
  };
  const worker: Worker = openWorker({
    self: 'host@x/1',
    clock,
    log: silentLog,
    ...testConsent(),
    policy: () => host.policy,
    whoIs: (jid) => ({ account: jid.split('/')[0] ?? jid, trust: host.trust }),
    wallClock: () => host.now,
    openWire: () => Promise.reject(new Error('no wires in this test')),
    notary: trustingNotary,
    sendReport: async (to, { report }) => host.told.push({ to, state: report.state, reason: report.reason }),
    boot: async ({ guest, diskMiB }) => {
      host.booted.push({ name: guest.name, diskMiB });
      return guestOf(guest.name, host.calls);
    },
    onGuests: () => host.announced++,
  });
  const request = (from: string, changes: Partial<typeof LEASE> = {}) =>
    worker.handle(from, { ...LEASE, ...changes }) as Promise<{ readonly lease: string; readonly seconds: number }>;
  const renew = (from: string, lease: string) =>
    worker.handle(from, { kind: 'lease.renew', lease, seconds: 90 }) as Promise<unknown>;
  const start = async (from: string, lease: string) => {
    await worker.handle(from, { kind: 'plan.apply', lease, plan: planFor(from) });
    await turn();
  };
  const setFile = (file: PolicyFile) => {
    host.policy = { ...host.policy, file };
    worker.reconsider();
  };
  return Object.assign(host, {
    worker,
    request,
    renew,
    start,
    setFile,
    [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose](),
  });
}

const planFor = (initiator: string) =>
  makePlan({
    job: checkJob({ name: 'mesh', topology: 'star' }),
    id: JOB,
    revision: 1,
    initiator,
    members: [
      { peer: initiator, node: 1 },
      { peer: 'host@x/1', node: 2 },
    ],
    images: { micro: IMAGE },
    wires: ['stanza'],
    masterKey: `ssh-ed25519 ${'A'.repeat(68)}`,
  });

function guestOf(name: string, calls: string[]): RunningGuest {
  const exited = Promise.withResolvers<string>();
  const note = (what: string) => async () => void calls.push(`${what} ${name}`);
  return {
    name,
    port: { name, send: () => true, closed: exited.promise },
    exited: exited.promise,
    bootSeconds: 1,
    accelerator: 'tcg',
    residentMiB: async () => 100,
    pause: note('pause'),
    resume: note('resume'),
    limitCpu: async (percent: number | undefined) => void calls.push(`cpu ${String(percent)} ${name}`),
    async [Symbol.asyncDispose]() {
      calls.push(`end ${name}`);
      exited.resolve('ended');
    },
  } as unknown as RunningGuest;
}

test('a job with the id of another one here gets no guest: their links would have the same names', async () => {
  await using host = openHost();
  const anna = await host.request('anna@x/1');
  await host.start('anna@x/1', anna.lease);
  const mallory = await host.request('mallory@x/1');
  await expect(host.start('mallory@x/1', mallory.lease)).rejects.toMatchObject({ code: 'job.beyond-lease' });
  expect(host.worker.hostings).toHaveLength(1);
});

describe('a policy that changes', () => {
  test('ends the leases that it would not grant any more, and tells their holders why', async () => {
    await using host = openHost();
    const { lease } = await host.request('anna@x/1');
    await host.request('ben@x/1');
    await host.start('anna@x/1', lease);
    host.setFile({ friends: { 'anna@x': 'never' } });
    await turn();
    const ended = {
      to: 'anna@x/1',
      state: 'stopped',
      reason: 'ended by its owner: the owner takes no guests from anna@x',
    };
    expect(host.told.filter(({ state }) => state === 'stopped')).toEqual([ended]);
    expect(host.calls).toEqual(['end worker-1']);
    await expect(host.renew('anna@x/1', lease)).rejects.toThrow(/no such lease/);
    expect(host.worker.inUse.guests).toBe(1);
  });

  test('with less memory ends the youngest leases until the rest fits', async () => {
    await using host = openHost();
    for (const name of ['anna', 'ben', 'carl']) await host.request(`${name}@x/1`);
    host.setFile({ caps: { memoryMiB: 250 } });
    expect(host.told.map(({ to }) => to)).toEqual(['carl@x/1']);
    host.setFile({ caps: { memoryMiB: 250, cpus: 0 } });
    expect(host.told.map(({ to }) => to)).toEqual(['carl@x/1', 'anna@x/1', 'ben@x/1']);
  });

  test('to ask leaves alone what was granted before, where there is somebody to ask', async () => {
    await using peer = openHost({ role: 'peer', file: { default: 'always' } });
    await peer.request('anna@x/1');
    peer.setFile({ default: 'ask' });
    expect(peer.worker.inUse.guests).toBe(1);
    await using worker = openHost({ role: 'worker' });
    await worker.request('anna@x/1');
    worker.setFile({ default: 'ask' });
    await turn();
    expect(worker.told[0]?.reason).toContain('nobody is there to be asked');
  });

  test('of trust counts as well: a key that is no longer verified', async () => {
    await using host = openHost();
    await host.request('anna@x/1');
    host.trust = 'first-sight';
    host.worker.reconsider();
    expect(host.told[0]?.reason).toContain('only first seen');
  });
});

describe('time', () => {
  test('hours that end take the leases with them, and the room hears when they begin and end', async () => {
    await using host = openHost({ file: { caps: { hours: '22:00-07:00' } } });
    await host.request('anna@x/1');
    host.now = new Date(2026, 10, 21, 6, 59, 59);
    host.clock.advance(1000);
    expect([host.told, host.worker.offer.accepts]).toEqual([[], true]);
    const before = host.announced;
    host.now = new Date(2026, 10, 21, 7, 0);
    host.clock.advance(1000);
    expect(host.told[0]?.reason).toBe('ended by its owner: the owner allows guests only at 22:00-07:00');
    expect(host.worker.offer.accepts).toBe(false);
    expect(host.announced).toBeGreaterThan(before);
    await expect(host.request('anna@x/1')).rejects.toMatchObject({ code: 'job.full', retry: 'later' });
  });

  /** Renews every 30 s as initiators do; how long the lease lived. */
  const lifetime = async (host: ReturnType<typeof openHost>, changes: Partial<typeof LEASE> = {}) => {
    const { lease, seconds } = await host.request('anna@x/1', changes);
    expect(seconds).toBeLessThanOrEqual(90);
    let age = 0;
    while (host.told.length === 0 && age < 1000) {
      host.clock.advance(1000);
      age++;
      if (age % 30 === 0) await host.renew('anna@x/1', lease).catch(() => {});
    }
    return age;
  };

  test('a lease ends at the total duration, however often it is renewed', async () => {
    await using host = openHost({ file: { caps: { seconds: 200 } } });
    expect(await lifetime(host)).toBe(200);
    expect(host.told[0]?.reason).toMatch(/whole duration|has had the 200 s/);
  });

  test('or at what its own job asked for, and a longer wish is refused', async () => {
    await using host = openHost({ file: { caps: { seconds: 200 } } });
    expect(await lifetime(host, { totalSeconds: 45 })).toBe(45);
    await expect(host.request('anna@x/1', { totalSeconds: 201 })).rejects.toThrow(/lease of 200 s/);
  });

  test('a lease that nobody renews lasts no longer than its whole duration', async () => {
    await using host = openHost();
    expect(await host.request('anna@x/1', { totalSeconds: 45 })).toMatchObject({ seconds: 45 });
    host.clock.advance(44_999);
    expect(host.worker.inUse.guests).toBe(1);
    host.clock.advance(1);
    expect(host.told[0]?.reason).toContain('whole duration');
  });

  test('a shorter total duration ends leases that are older', async () => {
    await using host = openHost();
    const { lease } = await host.request('anna@x/1');
    host.clock.advance(60_000);
    await host.renew('anna@x/1', lease);
    host.setFile({ caps: { seconds: 61 } });
    expect(host.told).toEqual([]);
    host.setFile({ caps: { seconds: 60 } });
    expect(host.told[0]?.reason).toContain('has had the 60 s');
  });

  test('the owner is not bound by hours or duration, and is known by no name', async () => {
    await using host = openHost(
      { role: 'initiator', file: { caps: { hours: '22:00-05:00', seconds: 10 } } },
      'first-sight',
    );
    const { lease } = await host.request('host@x/1', { role: 'master' });
    host.clock.advance(60_000);
    await host.renew('host@x/1', lease);
    expect(host.worker.inUse.guests).toBe(1);
    await expect(host.request('anna@x/1')).rejects.toMatchObject({ code: 'job.refused' });
  });
});

describe('what was decided', () => {
  test('is kept with the rule, its place in the file, and what the requester was told', async () => {
    await using host = openHost({ file: { caps: { cpus: 1 }, friends: { verified: 'always' } } });
    await host.request('anna@x/1');
    await expect(host.request('ben@x/1', { cpus: 2 })).rejects.toThrow(
      /^the owner allows 1 cpus a guest, 2 were asked for$/,
    );
    const [no, yes] = host.worker.desk.decided;
    expect(no).toMatchObject({ answer: 'no', by: 'policy', verdict: { rule: { place: 'policy.json caps.cpus' } } });
    expect(yes).toMatchObject({ answer: 'yes', verdict: { rule: { place: 'policy.json friends["verified"]' } } });
    expect(yes?.question).toMatchObject({
      who: { account: 'anna@x' },
      image: { name: 'micro', seen: true },
      seconds: 0,
    });
  });

  test('a friend who was banned is gone at once: leases, and requests that wait', async () => {
    await using host = openHost({ role: 'peer', file: { friends: { 'anna@x': 'always' } } });
    await host.request('anna@x/1');
    const waits = host.request('ben@x/1');
    await turn();
    expect(host.worker.desk.waiting).toHaveLength(1);
    host.worker.dismiss(() => true, 'its holder was banned');
    await expect(waits).rejects.toThrow(/owner said no/);
    await turn();
    expect(host.told.map(({ reason }) => reason)).toEqual(['ended by its owner: its holder was banned']);
    expect(host.worker.inUse.guests).toBe(0);
  });

  test('nobody answered is no refusal for good', async () => {
    await using host = openHost({ role: 'peer' });
    const waits = host.request('anna@x/1');
    await turn();
    host.clock.advance(110_000);
    await expect(waits).rejects.toMatchObject({ code: 'job.no-answer', retry: 'later' });
  });

  test('a yes that comes after the policy has changed is judged by the new one', async () => {
    await using host = openHost({ role: 'peer' });
    const waits = host.request('anna@x/1');
    await turn();
    const [asked] = host.worker.desk.waiting;
    host.setFile({ caps: { memoryMiB: 10 } });
    const decided = host.worker.desk.answer(asked?.id ?? '', true, 'kith allow');
    await expect(waits).rejects.toThrow(/10 MiB left/);
    expect(await decided).toMatchObject({ answer: 'no', verdict: { rule: { place: 'policy.json caps.memoryMiB' } } });
  });
});

describe("the owner's hand", () => {
  const running = async (host: ReturnType<typeof openHost>) => {
    const { lease } = await host.request('anna@x/1');
    await host.start('anna@x/1', lease);
    await expect.poll(() => host.worker.hostings[0]?.running?.name).toBe('worker-1');
  };

  test('pauses, resumes and caps all guests or one; a cap for all holds for the next guest, too', async () => {
    await using host = openHost();
    const { holder } = host.worker;
    expect(await holder.apply({ action: 'show' }, undefined)).toEqual([]);
    expect(await holder.apply({ action: 'cpu', percent: 50 }, undefined)).toEqual([]);
    await running(host);
    expect(await holder.apply({ action: 'show' }, undefined)).toEqual([
      { guest: 'worker-1', paused: false, cpuPercent: 50 },
    ]);
    expect(await holder.apply({ action: 'pause' }, 'worker-1')).toMatchObject([{ paused: true }]);
    expect(await holder.apply({ action: 'resume' }, undefined)).toMatchObject([{ paused: false }]);
    expect(await holder.apply({ action: 'cpu' }, 'worker-1')).toEqual([{ guest: 'worker-1', paused: false }]);
    expect(host.calls).toEqual(['cpu 50 worker-1', 'pause worker-1', 'resume worker-1', 'cpu undefined worker-1']);
    await expect(holder.apply({ action: 'pause' }, 'worker-9')).rejects.toMatchObject({ code: 'job.no-guest' });
  });

  test.each<[number | undefined, number | undefined, number | undefined]>([
    [undefined, undefined, undefined],
    [500, undefined, 500],
    [undefined, 300, 300],
    [500, 300, 300],
  ])('a working disk: the owner allows %s, the job asks for %s, it gets %s', async (cap, asked, gets) => {
    await using host = openHost({ file: { caps: cap === undefined ? {} : { diskMiB: cap } } });
    const { lease } = await host.request('anna@x/1', asked === undefined ? {} : { diskMiB: asked });
    await host.start('anna@x/1', lease);
    expect(host.booted).toEqual([{ name: 'worker-1', diskMiB: gets }]);
  });

  test('bandwidth: no second of frames carries more than the cap, both ways together', () => {
    const clock = virtualClock();
    let cap: number | undefined = 10_000;
    const rate = createRate(clock, () => cap);
    let passed = 0;
    const out = limitRuns(rate, (run) => (passed += run.length));
    const inner = guestOf('g', []);
    const guest = limitPort(
      rate,
      Object.assign(inner, { port: { ...inner.port, send: (run: Uint8Array) => (passed += run.length) > 0 } }),
    );
    const run = new Uint8Array(500);
    const second = () => {
      passed = 0;
      for (let ms = 0; ms < 1000; ms += 10) {
        clock.advance(10);
        out(run);
        guest.port.send(run);
      }
      return passed;
    };
    second();
    for (let index = 0; index < 5; index++) expect(second()).toBeLessThanOrEqual(10_500);
    expect(second()).toBeGreaterThanOrEqual(9500);
    cap = undefined;
    expect(second()).toBe(100_000);
  });
});
