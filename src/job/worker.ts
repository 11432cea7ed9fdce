/** The obeying side: answers lease requests by the owner's policy, then carries out plans for whoever holds a lease. */
import { describeError, KithError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { GuestConsole, RunningGuest } from '../guest/guest.ts';
import { MAX_PAGE_BYTES } from '../protocol/limits.ts';
import type { Page, Replies, Request, RequestOf } from '../protocol/messages.ts';
import { parsePlan } from '../protocol/plan.ts';
import { createOutputs } from './outputs.ts';
import { createCaptures, type Captures } from './captures.ts';
import { createGate, type ConsentDeps } from './consent-gate.ts';
import { createHolder, type Holder } from './consent-hold.ts';
import type { Desk } from './consent.ts';
import { guestOf, openHosting, type Hosting, type HostingDeps } from './hosting.ts';
import { createLeaseTable, type Lease } from './lease.ts';
import { answerLinks } from './link-answer.ts';
import { effectiveCaps, takesGuests } from './policy-caps.ts';
import { createRate, limitPort, limitRuns } from './policy-rate.ts';
import type { LeaseQuestion } from './policy.ts';

/** A report that says nothing new is still sent this often: round trips and counters for `kith ps`. */
const REPORT_MS = 10_000;

/** Leases are judged anew this often: hours of the day end, and a machine that slept wakes up in other hours. */
const REVIEW_MS = 1000;

type Order = Parameters<HostingDeps['boot']>[0];

export interface WorkerDeps extends Omit<HostingDeps, 'onChange' | 'boot'>, ConsentDeps {
  /** `diskMiB`: what the working disk may grow to; undefined: no cap. */
  readonly boot: (order: Order & { readonly diskMiB: number | undefined }) => Promise<RunningGuest>;
  readonly sendReport: (to: string, message: RequestOf<'guest.report'>) => Promise<unknown>;
  /** Guests came or went: capacity has to be announced anew. */
  readonly onGuests: () => void;
}

export interface Worker extends AsyncDisposable {
  readonly hostings: readonly Hosting[];
  /** Under the lease of the guest whose frames they hold, or of those of its links. */
  readonly captures: Captures;
  /** The lease of a guest that this peer hosts. */
  leaseOf(hosting: Hosting): string | undefined;
  readonly inUse: { readonly memoryMiB: number; readonly guests: number };
  /** What the owner's policy leaves for the next guest. */
  readonly offer: { readonly cpus: number; readonly memoryMiB: number; readonly accepts: boolean };
  /** Requests that wait for the owner, and the last that were decided. */
  readonly desk: Desk;
  /** The owner's hand on running guests. */
  readonly holder: Holder;
  /** The policy, or what is known of a friend, has changed: leases that no longer conform end. */
  reconsider(): void;
  /** Ends the leases of whoever is meant (a friend who was banned), tells them why, and closes the wires to them. */
  dismiss(who: (jid: string) => boolean, reason: string): void;
  /** Handles what a worker handles; undefined means "not my kind of request". */
  handle(from: string, request: Request): Promise<Replies[keyof Replies]> | undefined;
  /** True when a plan that we carry out names this peer: only then may it signal to us. */
  knows(peer: string): boolean;
  /** True between a lease and its plan: mates who got theirs a moment earlier already signal. */
  readonly expecting: boolean;
}

interface Entry {
  readonly lease: Lease;
  readonly question: LeaseQuestion;
  /** Of the clock. */
  readonly since: number;
  hosting: Hosting | undefined;
}

export function openWorker(deps: WorkerDeps): Worker {
  const { clock, log } = deps;
  const entries = new Map<string, Entry>();
  /** Guests that are on their way out still have their memory. */
  const ending = new Map<Promise<void>, Lease>();
  const outputs = createOutputs(clock);
  const captures = createCaptures(clock);
  const table = createLeaseTable({
    clock,
    onExpired: ({ id }) => {
      const entry = entries.get(id);
      if (entry && remaining(entry) <= 0) endByOwner(id, 'the lease has had its whole duration');
      else void end(id, 'the lease expired');
    },
  });

  const inUse = () => {
    const all = [...table.leases, ...ending.values()];
    return { memoryMiB: all.reduce((total, lease) => total + lease.memoryMiB, 0), guests: all.length };
  };

  const gate = createGate({ ...deps, inUse });
  const holder = createHolder(() => hostings().flatMap(({ running }) => (running ? [running] : [])));
  const rate = createRate(clock, () => effectiveCaps(deps.policy()).bandwidth?.value);
  const hostings = () => [...entries.values()].flatMap(({ hosting }) => (hosting ? [hosting] : []));
  const ageOf = ({ since }: Entry) => (clock.now() - since) / 1000;
  const remaining = (entry: Entry) => gate.totalSeconds(entry.question) - ageOf(entry);
  const accepts = () => takesGuests(deps.policy(), deps.wallClock(), inUse());
  let accepted: boolean | undefined;

  const end = (id: string, reason: string): Promise<void> => {
    const entry = entries.get(id);
    entries.delete(id);
    table.end(id);
    outputs.drop(id);
    captures.drop(id);
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

  /** The holder is told at once; should that get lost, its next renewal finds no lease. */
  const endByOwner = (id: string, reason: string) => {
    const entry = entries.get(id);
    if (!entry) return;
    const { job, holder: to } = entry.lease;
    const report = { state: 'stopped', reason: `ended by its owner: ${reason}`.slice(0, 1000), links: [] } as const;
    void deps
      .sendReport(to, { kind: 'guest.report', job, lease: id, report })
      .catch((error: unknown) => log.debug('end not delivered', { reason: describeError(error) }));
    void end(id, reason);
  };

  const reconsider = () => {
    const held = [...entries.values()].map((entry) => ({ ...entry, ageSeconds: ageOf(entry) }));
    const ended = gate.review(held);
    for (const { lease, verdict } of ended) endByOwner(lease.lease.id, verdict.rule.words);
    // Hours began or ended, or the policy is another one: who looks for a place should know.
    const now = accepts();
    if (accepted !== undefined && accepted !== now) deps.onGuests();
    accepted = now;
  };

  const stopReports = clock.every(REPORT_MS, () => table.leases.forEach(tell));
  const stopReviews = clock.every(REVIEW_MS, reconsider);

  const boot = async (order: Order, { question }: Entry): Promise<RunningGuest> => {
    const cap = effectiveCaps(deps.policy()).diskMiB?.value;
    const diskMiB = question.diskMiB > 0 ? Math.min(question.diskMiB, cap ?? Number.POSITIVE_INFINITY) : cap;
    const guest = limitPort(rate, await deps.boot({ ...order, diskMiB, onRun: limitRuns(rate, order.onRun) }));
    await holder
      .adopt(guest)
      .catch((error: unknown) => log.warn('cpu cap not set', { guest: guest.name, reason: describeError(error) }));
    return guest;
  };

  /** A part of the guest under that lease, for its holder alone. */
  const partFor = <T>(id: string, from: string, part: (hosting: Hosting) => T | undefined, missing: string): T => {
    table.check(id, from);
    const hosting = entries.get(id)?.hosting;
    const found = hosting && part(hosting);
    if (found) return found;
    throw new KithError({ code: 'job.guest-not-up', message: missing, retry: 'later' });
  };
  const guestFor = (id: string, from: string): RunningGuest =>
    partFor(id, from, ({ running }) => running, 'the guest does not run (yet)');
  const consoleFor = (id: string, from: string): GuestConsole =>
    partFor(id, from, (hosting) => hosting.console, 'the guest has not been started yet');
  const fabricFor = (id: string, from: string): Hosting['fabric'] =>
    partFor(id, from, ({ fabric }) => fabric, 'there is no plan for that guest yet');

  function lease(from: string, request: RequestOf<'lease.request'>): Promise<Replies['lease.request']> {
    return gate.admit(from, request, (question) => {
      const { job, jobName, memoryMiB, cpus } = request;
      const seconds = Math.ceil(Math.min(request.seconds, gate.totalSeconds(question)));
      const granted = table.grant(
        { job, jobName, holder: from, memoryMiB, cpus, imageHash: request.image.hash },
        seconds,
      );
      entries.set(granted.id, { lease: granted, question, since: clock.now(), hosting: undefined });
      log.info('lease granted', { job: jobName, to: from, memoryMiB });
      deps.onGuests();
      return { lease: granted.id, seconds };
    });
  }

  function renew(from: string, request: RequestOf<'lease.renew'>): Replies['lease.renew'] {
    const { id } = table.check(request.lease, from);
    const entry = entries.get(id);
    const left = entry ? remaining(entry) : 0;
    if (left <= 0) endByOwner(id, 'the lease has had its whole duration');
    const seconds = Math.min(request.seconds, left);
    table.renew(id, from, seconds);
    return { seconds: Math.ceil(seconds) };
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
    // Names of wires and what notes are signed for are made of it: two LANs with one name would hear each other.
    if (hostings().some(({ plan: { job } }) => job.id === plan.job.id && job.initiator !== from))
      refuse("somebody else's job");
    if (guest.memoryMiB > terms.memoryMiB || guest.cpus > terms.cpus) refuse('more memory or cpus');
    if (guest.image.hash !== terms.imageHash) refuse('another image');
    const entry = entries.get(request.lease);
    if (!entry) return { revision: plan.job.revision };
    if (!entry.hosting) {
      entry.hosting = openHosting(plan, { ...deps, boot: (order) => boot(order, entry), onChange: () => tell(terms) });
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
        return attempt(() => renew(from, request));
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
      case 'link.set':
      case 'capture.open':
      case 'capture.read':
      case 'capture.close':
        return attempt(() => answerLinks(request, captures, fabricFor(request.lease, from)));
      default:
        return undefined;
    }
  }

  return {
    handle,
    captures,
    leaseOf: (hosting) => [...entries].find(([, entry]) => entry.hosting === hosting)?.[0],
    desk: gate.desk,
    holder,
    reconsider,
    dismiss(who, reason) {
      gate.desk.withdraw(who);
      for (const { lease, hosting } of entries.values()) {
        if (who(lease.holder)) endByOwner(lease.id, reason);
        else hosting?.fabric.cut(who);
      }
    },
    get offer() {
      const { cpus, memoryMiB } = effectiveCaps(deps.policy());
      return {
        cpus: cpus.value,
        memoryMiB: Math.max(0, memoryMiB.value - inUse().memoryMiB),
        accepts: accepts(),
      };
    },
    get hostings() {
      return hostings();
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
      stopReviews();
      gate.desk.close();
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
