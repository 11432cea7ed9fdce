/** The obeying side: answers lease requests by the owner's policy, then carries out plans for whoever holds a lease. */
import { describeError, KithError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { GuestConsole, RunningGuest } from '../guest/guest.ts';
import { MAX_PAGE_BYTES } from '../protocol/limits.ts';
import type { Page, Replies, Request, RequestOf } from '../protocol/messages.ts';
import { parsePlan } from '../protocol/plan.ts';
import { createOutputs } from './outputs.ts';
import { guestOf, openHosting, type Hosting, type HostingDeps } from './hosting.ts';
import { createLeaseTable, type Lease } from './lease.ts';
import { checkLimits, decide, type Accept, type LeaseQuestion, type Limits } from './policy.ts';

/** A report that says nothing new is still sent this often: round trips and counters for `kith ps`. */
const REPORT_MS = 10_000;

export interface WorkerDeps extends Omit<HostingDeps, 'onChange'> {
  readonly accept: Accept;
  readonly limits: Limits;
  readonly ask: ((question: LeaseQuestion) => Promise<boolean>) | undefined;
  readonly sendReport: (to: string, message: RequestOf<'guest.report'>) => Promise<unknown>;
  /** Guests came or went: capacity has to be announced anew. */
  readonly onGuests: () => void;
}

export interface Worker extends AsyncDisposable {
  readonly hostings: readonly Hosting[];
  readonly inUse: { readonly memoryMiB: number; readonly guests: number };
  /** Handles what a worker handles; undefined means "not my kind of request". */
  handle(from: string, request: Request): Promise<Replies[keyof Replies]> | undefined;
  /** True when a plan that we carry out names this peer: only then may it signal to us. */
  knows(peer: string): boolean;
  /** True between a lease and its plan: mates who got theirs a moment earlier already signal. */
  readonly expecting: boolean;
}

interface Entry {
  readonly lease: Lease;
  hosting: Hosting | undefined;
}

export function openWorker(deps: WorkerDeps): Worker {
  const { clock, log } = deps;
  const entries = new Map<string, Entry>();
  /** Guests that are on their way out still have their memory. */
  const ending = new Map<Promise<void>, Lease>();
  const outputs = createOutputs(clock);
  const table = createLeaseTable({ clock, onExpired: (lease) => void end(lease.id, 'the lease expired') });

  const inUse = () => {
    const all = [...table.leases, ...ending.values()];
    return { memoryMiB: all.reduce((total, lease) => total + lease.memoryMiB, 0), guests: all.length };
  };

  const end = (id: string, reason: string): Promise<void> => {
    const entry = entries.get(id);
    entries.delete(id);
    table.end(id);
    outputs.drop(id);
    if (!entry) return Promise.resolve();
    log.info('lease ended', { reason });
    const done = Promise.resolve(entry.hosting?.[Symbol.asyncDispose]())
      .catch((error: unknown) => log.error('guest not ended cleanly', { reason: describeError(error) }))
      .finally(() => {
        ending.delete(done);
        deps.onGuests();
      });
    ending.set(done, entry.lease);
    return done;
  };

  const tell = (lease: Lease) => {
    const hosting = entries.get(lease.id)?.hosting;
    if (!hosting) return;
    void hosting
      .report()
      .then((report) =>
        deps.sendReport(lease.holder, { kind: 'guest.report', job: lease.job, lease: lease.id, report }),
      )
      .catch((error: unknown) => log.debug('report not delivered', { reason: describeError(error) }));
  };

  const stopReports = clock.every(REPORT_MS, () => table.leases.forEach(tell));

  const guestFor = (id: string, from: string): RunningGuest => {
    table.check(id, from);
    const guest = entries.get(id)?.hosting?.running;
    if (!guest)
      throw new KithError({ code: 'job.guest-not-up', message: 'the guest does not run (yet)', retry: 'later' });
    return guest;
  };

  const consoleFor = (id: string, from: string): GuestConsole => {
    table.check(id, from);
    const terminal = entries.get(id)?.hosting?.console;
    if (!terminal)
      throw new KithError({ code: 'job.guest-not-up', message: 'the guest has not been started yet', retry: 'later' });
    return terminal;
  };

  async function lease(from: string, request: RequestOf<'lease.request'>): Promise<Replies['lease.request']> {
    await decide({ from, request }, { accept: deps.accept, limits: deps.limits, inUse: inUse(), ask: deps.ask });
    // A second look, with no wait before the grant: others may have taken the place while the human thought.
    checkLimits(request, deps.limits, inUse());
    const { job, jobName, memoryMiB, cpus, seconds } = request;
    const granted = table.grant(
      { job, jobName, holder: from, memoryMiB, cpus, imageHash: request.image.hash },
      seconds,
    );
    entries.set(granted.id, { lease: granted, hosting: undefined });
    log.info('lease granted', { job: jobName, to: from, memoryMiB });
    deps.onGuests();
    return { lease: granted.id, seconds };
  }

  function apply(from: string, request: RequestOf<'plan.apply'>): Replies['plan.apply'] {
    const terms = table.check(request.lease, from);
    const plan = parsePlan(request.plan);
    const guest = guestOf(plan, deps.self);
    const refuse = (why: string) => {
      throw new KithError({
        code: 'job.beyond-lease',
        message: `the plan goes beyond the lease: ${why}`,
        retry: 'never',
      });
    };
    if (plan.job.id !== terms.job || plan.job.initiator !== from) refuse('another job');
    if (guest.memoryMiB > terms.memoryMiB || guest.cpus > terms.cpus) refuse('more memory or cpus');
    if (guest.image.hash !== terms.imageHash) refuse('another image');
    const entry = entries.get(request.lease);
    if (!entry) return { revision: plan.job.revision };
    if (!entry.hosting) {
      entry.hosting = openHosting(plan, { ...deps, onChange: () => tell(terms) });
    } else {
      const now = entry.hosting;
      if (guest.node !== now.guest.node || guest.mac !== now.guest.mac) refuse('another place on the LAN');
      if (plan.job.revision > now.plan.job.revision) now.apply(plan);
    }
    return { revision: entry.hosting.plan.job.revision };
  }

  async function exec(from: string, request: RequestOf<'guest.exec'>): Promise<Replies['guest.exec']> {
    const outcome = await guestFor(request.lease, from).exec([...request.command], {
      timeoutMs: request.timeoutSeconds * 1000,
    });
    const id = newId();
    if (Math.max(outcome.stdout.length, outcome.stderr.length) > MAX_PAGE_BYTES / 2)
      outputs.keep(request.lease, id, outcome);
    return {
      exec: id,
      exitCode: outcome.exitCode,
      ...(outcome.signal === undefined ? {} : { signal: outcome.signal }),
      // Both together must fit one message.
      stdout: pageOf(outcome.stdout, 0, MAX_PAGE_BYTES / 2),
      stderr: pageOf(outcome.stderr, 0, MAX_PAGE_BYTES / 2),
    };
  }

  function output(from: string, request: RequestOf<'guest.output'>): Page {
    table.check(request.lease, from);
    const outcome = outputs.find(request.lease, request.exec);
    if (!outcome)
      throw new KithError({ code: 'job.no-output', message: 'that output is no longer kept', retry: 'never' });
    return pageOf(outcome[request.stream], request.offset, MAX_PAGE_BYTES);
  }

  function handle(from: string, request: Request): Promise<Replies[keyof Replies]> | undefined {
    switch (request.kind) {
      case 'lease.request':
        return lease(from, request);
      case 'lease.renew':
        return attempt(() => {
          table.renew(request.lease, from, request.seconds);
          return { seconds: request.seconds };
        });
      case 'lease.end':
        return attempt(async () => {
          table.check(request.lease, from);
          await end(request.lease, request.reason);
          return {};
        });
      case 'plan.apply':
        return attempt(() => apply(from, request));
      case 'guest.exec':
        return exec(from, request);
      case 'guest.output':
        return attempt(() => output(from, request));
      case 'guest.log':
        return attempt(() => {
          const part = consoleFor(request.lease, from).log(request.offset, MAX_PAGE_BYTES);
          return { data: Buffer.from(part.data).toString('base64'), offset: part.offset, total: part.total };
        });
      case 'guest.type':
        return attempt(() => {
          consoleFor(request.lease, from).type(Buffer.from(request.data, 'base64'));
          return {};
        });
      default:
        return undefined;
    }
  }

  return {
    handle,
    get hostings() {
      return [...entries.values()].flatMap(({ hosting }) => (hosting ? [hosting] : []));
    },
    get inUse() {
      return inUse();
    },
    knows: (peer) =>
      [...entries.values()].some(({ hosting }) => hosting?.plan.guests.some((guest) => guest.peer === peer)),
    get expecting() {
      return [...entries.values()].some(({ hosting }) => hosting === undefined);
    },
    async [Symbol.asyncDispose]() {
      stopReports();
      for (const id of entries.keys()) void end(id, 'this peer stops');
      table.close();
      await Promise.all(ending.keys());
    },
  };
}

/** So that a synchronous refusal becomes a rejected promise like all others. */
async function attempt<T>(task: () => T | Promise<T>): Promise<T> {
  return task();
}

function pageOf(bytes: Uint8Array, offset: number, max: number): Page {
  return { data: Buffer.from(bytes.subarray(offset, offset + max)).toString('base64'), offset, total: bytes.length };
}
