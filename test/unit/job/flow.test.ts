/** The whole way of a job over a room of fakes: peers that answer at once, guests that boot at once, time that stands still. */
import { describe, expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import type { RunningGuest } from '../../../src/guest/guest.ts';
import { checkJob, type JobDefinition } from '../../../src/job/define.ts';
import type { Ask } from '../../../src/job/guest-client.ts';
import { startJob, type JobRun } from '../../../src/job/initiator.ts';
import type { Candidate } from '../../../src/job/membership.ts';
import { encodeRun } from '../../../src/net/batch.ts';
import { openWorker, type Worker, type WorkerDeps } from '../../../src/job/worker.ts';
import type { Capacity } from '../../../src/protocol/capacity.ts';
import { parseReply, parseRequest, type Request, type RequestOf } from '../../../src/protocol/messages.ts';
import { virtualClock, type VirtualClock } from '../../harness/virtual-clock.ts';
import { CAPACITY } from '../../harness/capacity.ts';
import { testConsent } from '../../harness/consent.ts';
import { trustingNotary } from '../../harness/notary.ts';

const IMAGE = { name: 'micro', hash: 'a'.repeat(64), bytes: 1000 };
interface FakePeer {
  readonly jid: string;
  readonly worker: Worker;
  readonly booted: string[];
  readonly ended: string[];
  readonly execs: string[][];
}

/** Everybody who is in the room, and how a request gets from one to another. */
class FakeRoom {
  readonly clock: VirtualClock = virtualClock();
  readonly peers = new Map<string, FakePeer>();
  /** Nothing that these say arrives any more. */
  readonly silenced = new Set<string>();
  readonly capacities = new Map<string, Capacity>();
  /** Each plan waits for this before it arrives. */
  slow: Promise<void> = Promise.resolve();
  job: JobRun | undefined;

  add(jid: string, changes: Partial<WorkerDeps> & { readonly bootFails?: string } = {}): FakePeer {
    const booted: string[] = [];
    const ended: string[] = [];
    const execs: string[][] = [];
    const worker = openWorker({
      self: jid,
      clock: this.clock,
      log: silentLog,
      ...testConsent(),
      onGuests: () => {},
      openWire: () => Promise.reject(new Error('no wires in this test')),
      notary: trustingNotary,
      sendReport: (to, message) => this.send(jid, to, message),
      boot: async ({ guest }) => {
        if (changes.bootFails) throw new Error(changes.bootFails);
        booted.push(guest.name);
        return fakeGuest(guest.name, ended, execs);
      },
      ...changes,
    });
    const peer = { jid, worker, booted, ended, execs };
    this.peers.set(jid, peer);
    return peer;
  }

  /** Over the wire and back through the same validation as real messages. */
  async send(from: string, to: string, request: Request): Promise<unknown> {
    if (this.silenced.has(from)) throw new Error(`${from} is cut off`);
    const message = parseRequest(JSON.parse(JSON.stringify(request)));
    if (message.kind === 'guest.report') {
      this.job?.onReport(from, message);
      return {};
    }
    if (message.kind === 'plan.apply') await this.slow;
    const peer = this.peers.get(to);
    if (!peer) throw new Error(`${to} is gone`);
    const reply = await peer.worker.handle(from, message);
    return parseReply(message.kind, JSON.parse(JSON.stringify(reply)));
  }

  ask(from: string): Ask {
    return (async (to: string, request: RequestOf<'lease.end'>) => this.send(from, to, request)) as unknown as Ask;
  }

  candidates(except: string): Candidate[] {
    return [...this.peers.keys()]
      .filter((jid) => jid !== except)
      .map((peer) => ({ peer, nick: peer, alive: true, capacity: this.capacities.get(peer) ?? CAPACITY }));
  }

  start(definition: Partial<JobDefinition>, waitSeconds?: number, signal = new AbortController().signal): JobRun {
    const self = 'boss@x/1';
    this.add(self);
    this.job = startJob({
      job: checkJob({ name: 'test', topology: 'mesh', ...definition }),
      self: { jid: self, nick: 'boss' },
      images: { micro: IMAGE },
      masterKey: `ssh-ed25519 ${'A'.repeat(68)}`,
      wires: ['stanza'],
      ask: this.ask(self),
      candidates: () => this.candidates(self),
      waitSeconds,
      clock: this.clock,
      log: silentLog,
      print: () => {},
      onState: () => {},
      signal,
    });
    return this.job;
  }
}

/** What the shell loop of lan.ts prints where all guests answer. */
const answers = (command: readonly string[]) =>
  command
    .filter((word) => word.startsWith('10.'))
    .map((address) => `answered ${address}\n`)
    .join('');

function fakeGuest(name: string, ended: string[], execs: string[][]): RunningGuest {
  const exited = Promise.withResolvers<string>();
  return {
    name,
    pid: 1,
    port: { name, send: () => true, closed: exited.promise },
    bootSeconds: 1,
    accelerator: 'tcg',
    exec: async (command: readonly string[]) => {
      execs.push([...command]);
      return {
        exitCode: 0,
        stdout: Buffer.from(command.includes('ping-all') ? answers(command) : `${name}: ${command.join(' ')}`),
        stderr: Buffer.alloc(0),
        truncated: false,
      };
    },
    log: (offset: number) => ({ data: new Uint8Array(0), offset, total: 0 }),
    type: () => {},
    residentMiB: async () => 100,
    exited: exited.promise,
    async [Symbol.asyncDispose]() {
      ended.push(name);
      exited.resolve('ended');
    },
  } as unknown as RunningGuest;
}

describe('a job', () => {
  test('gives each peer a guest, runs its script, and takes everything back', async () => {
    const room = new FakeRoom();
    const workers = ['a@x/1', 'b@x/1', 'c@x/1'].map((jid) => room.add(jid));
    await using job = room.start({
      worker: { min: 3 },
      run: async ({ lan }) => {
        await lan.ready();
        const results = await lan.execAll(['uname', '-a']);
        return results.map(({ guest, stdout }) => [guest, stdout]);
      },
    });
    expect(await job.result).toEqual([
      ['master', 'master: uname -a'],
      ['worker-1', 'worker-1: uname -a'],
      ['worker-2', 'worker-2: uname -a'],
      ['worker-3', 'worker-3: uname -a'],
    ]);
    expect(workers.flatMap(({ booted }) => booted).toSorted()).toEqual(['worker-1', 'worker-2', 'worker-3']);
    await job[Symbol.asyncDispose]();
    expect([...room.peers.values()].flatMap(({ ended }) => ended).toSorted()).toEqual([
      'master',
      'worker-1',
      'worker-2',
      'worker-3',
    ]);
    expect([...room.peers.values()].map(({ worker }) => worker.inUse.guests)).toEqual([0, 0, 0, 0]);
  });

  test('offers a place to a peer that comes later, and the place of one that left to the next', async () => {
    const room = new FakeRoom();
    room.add('a@x/1');
    const running = Promise.withResolvers<void>();
    const over = Promise.withResolvers<void>();
    await using job = room.start({
      worker: { min: 1, max: 2 },
      run: async ({ lan }) => {
        await lan.ready();
        running.resolve();
        await over.promise;
      },
    });
    await running.promise;
    const late = room.add('late@x/1');
    job.consider();
    await expect.poll(() => late.booted).toEqual(['worker-2']);
    expect(job.plan?.job.revision).toBe(2);

    room.peers.delete('a@x/1');
    job.consider();
    const next = room.add('next@x/1');
    job.consider();
    await expect.poll(() => next.booted).toEqual(['worker-1']);
    expect(job.plan?.guests.map(({ name, peer }) => [name, peer])).toEqual([
      ['master', 'boss@x/1'],
      ['worker-1', 'next@x/1'],
      ['worker-2', 'late@x/1'],
    ]);
    over.resolve();
    await job.result;
  });

  test('keeps everybody who joins while the first plan is still on its way', async () => {
    const room = new FakeRoom();
    const slow = Promise.withResolvers<void>();
    room.slow = slow.promise;
    const workers = ['a@x/1', 'b@x/1', 'c@x/1', 'd@x/1'].map((jid) => room.add(jid));
    const over = Promise.withResolvers<void>();
    await using job = room.start({ worker: { min: 1 }, run: () => over.promise });
    await expect.poll(() => job.plan?.guests.length).toBe(5);
    slow.resolve();
    await expect
      .poll(() => workers.flatMap(({ booted }) => booted).toSorted())
      .toEqual([1, 2, 3, 4].map((number) => `worker-${number}`));
    expect(job.places).toHaveLength(5);
    over.resolve();
    await job.result;
  });

  test('says how long and how much disk it wants, and owners who give less are not its hosts', async () => {
    const room = new FakeRoom();
    room.add('a@x/1', testConsent({ file: { caps: { seconds: 60 } } }));
    room.add('b@x/1', testConsent({ file: { caps: { diskMiB: 100 } } }));
    const host = room.add('c@x/1', testConsent({ file: { caps: { seconds: 90, diskMiB: 500 } } }));
    await using job = room.start({ seconds: 90, worker: { diskMiB: 500 }, run: async ({ lan }) => lan.ready() });
    await job.result;
    expect(job.places.map(({ peer }) => peer)).toEqual(['boss@x/1', 'c@x/1']);
    expect(host.worker.desk.decided[0]?.question).toMatchObject({ seconds: 90, diskMiB: 500 });
  });

  test('asks a peer again that was full, once it announces another capacity', async () => {
    const room = new FakeRoom();
    room.add('a@x/1', testConsent({ limits: { memoryMiB: 10 } }));
    room.add('b@x/1');
    const over = Promise.withResolvers<void>();
    await using job = room.start({ run: () => over.promise });
    await expect.poll(() => job.plan?.guests.length).toBe(2);
    const roomy = room.add('a@x/1');
    job.consider();
    expect(roomy.booted).toEqual([]);
    room.capacities.set('a@x/1', { ...CAPACITY, cpus: 1 });
    job.consider();
    await expect.poll(() => roomy.booted).toEqual(['worker-2']);
    over.resolve();
    await job.result;
  });

  test('ends when it is told to, also when its script never does', async () => {
    const room = new FakeRoom();
    room.add('a@x/1');
    const stop = new AbortController();
    await using job = room.start({ run: () => new Promise(() => {}) }, undefined, stop.signal);
    await expect.poll(() => job.state).toBe('running');
    stop.abort(new Error('Ctrl-C'));
    await expect(job.result).rejects.toThrow('Ctrl-C');
  });

  test('goes on without a worker whose guest fails, and fails when too few are left', async () => {
    const room = new FakeRoom();
    room.add('a@x/1', { bootFails: 'no kernel' });
    room.add('b@x/1');
    await using job = room.start({ worker: { min: 2 }, run: async ({ lan }) => lan.ready() });
    await expect(job.result).rejects.toThrow(/fewer than 2 workers are left: a@x\/1: no kernel/);
    expect(room.peers.get('a@x/1')?.worker.inUse.guests).toBe(0);
  });

  test('does not ask a peer again that said no', async () => {
    const room = new FakeRoom();
    let asked = 0;
    room.add('a@x/1', {
      ...testConsent(
        { accept: 'ask' },
        {
          prompt: async () => {
            asked++;
            return false;
          },
        },
      ),
    });
    room.add('b@x/1');
    await using job = room.start({ run: async ({ lan }) => lan.ready() });
    await job.result;
    job.consider();
    job.consider();
    expect(asked).toBe(1);
    expect(job.places.map(({ peer }) => peer)).toEqual(['boss@x/1', 'b@x/1']);
  });

  test('whose script throws gives everything back and says why', async () => {
    const room = new FakeRoom();
    const worker = room.add('a@x/1');
    await using job = room.start({
      run: async ({ lan }) => {
        await lan.ready();
        throw new Error('my script is wrong');
      },
    });
    await expect(job.result).rejects.toThrow('my script is wrong');
    await job[Symbol.asyncDispose]();
    expect(worker.ended).toEqual(['worker-1']);
  });

  test('that finds too few peers in time says how many it needs', async () => {
    const room = new FakeRoom();
    room.add('a@x/1');
    await using job = room.start({ worker: { min: 2 } }, 0);
    await expect(job.result).rejects.toThrow(/needs 2 workers/);
  });

  test('whose initiator vanished frees its workers when the leases expire', async () => {
    const room = new FakeRoom();
    const worker = room.add('a@x/1');
    const job = room.start({ run: async ({ lan }) => lan.ready() });
    await job.result;
    room.clock.advance(60_000);
    expect(worker.worker.inUse.guests).toBe(1);
    room.silenced.add('boss@x/1');
    await job[Symbol.asyncDispose]();
    room.clock.advance(89_000);
    expect(worker.ended).toEqual([]);
    room.clock.advance(1_000);
    await expect.poll(() => worker.ended).toEqual(['worker-1']);
  });
});

describe('a worker', () => {
  const LEASE: RequestOf<'lease.request'> = {
    kind: 'lease.request',
    job: 'job-0001-0001',
    jobName: 'test',
    role: 'worker',
    memoryMiB: 144,
    cpus: 1,
    image: IMAGE,
    seconds: 90,
  };

  test('lets nobody but the holder use a lease', async () => {
    const room = new FakeRoom();
    room.add('a@x/1');
    const { lease } = (await room.send('boss@x/1', 'a@x/1', LEASE)) as { lease: string };
    for (const request of [
      { kind: 'lease.renew', lease, seconds: 10 },
      { kind: 'lease.end', lease, reason: 'mine' },
      { kind: 'guest.exec', lease, command: ['id'], timeoutSeconds: 1 },
      { kind: 'guest.log', lease, offset: 0 },
      { kind: 'guest.type', lease, data: '' },
      { kind: 'link.set', lease, node: 1, wires: [] },
      { kind: 'capture.open', lease, snapLength: 100 },
      { kind: 'capture.read', lease, capture: 'any' },
      { kind: 'capture.close', lease, capture: 'any' },
    ] satisfies Request[]) {
      await expect(room.send('thief@x/1', 'a@x/1', request)).rejects.toThrow(/no such lease/);
    }
    expect(room.peers.get('a@x/1')?.worker.inUse.guests).toBe(1);
  });

  test('captures frames for the holder of a lease, and ends that with the lease', async () => {
    const room = new FakeRoom();
    const { worker } = room.add('a@x/1');
    await using job = room.start({ run: async ({ lan }) => lan.ready() });
    await job.result;
    const { lease } = job.where('worker-1');
    const ask = (request: Request) => room.send('boss@x/1', 'a@x/1', request);
    await expect(ask({ kind: 'capture.open', lease, link: 9, snapLength: 100 })).rejects.toThrow(/no link/);
    const { capture } = (await ask({ kind: 'capture.open', lease, snapLength: 100 })) as { capture: string };
    const [hosting] = worker.hostings;
    for (let i = 0; i < 1000; i++) hosting?.fabric.tapOf().see(encodeRun([new Uint8Array(60)]), 'outbound');
    expect(await ask({ kind: 'capture.read', lease, capture })).toMatchObject({ received: 1000, dropped: 0 });
    await job[Symbol.asyncDispose]();
    await expect(worker.captures.read(lease, capture, 100)).rejects.toMatchObject({ code: 'capture.ended' });
  });

  test('never gives two guests the memory of one, however the answers overlap', async () => {
    const room = new FakeRoom();
    const answers: ((yes: boolean) => void)[] = [];
    const peer = room.add('a@x/1', {
      ...testConsent(
        { accept: 'ask', limits: { memoryMiB: 200 } },
        { prompt: () => new Promise((resolve) => answers.push(resolve)) },
      ),
    });
    const both = [room.send('p@x/1', 'a@x/1', LEASE), room.send('q@x/1', 'a@x/1', LEASE)];
    const settled = Promise.allSettled(both);
    await expect.poll(() => answers.length).toBe(2);
    for (const answer of answers) answer(true);
    expect((await settled).map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
    expect(peer.worker.inUse).toEqual({ memoryMiB: 144, guests: 1 });
  });
});
