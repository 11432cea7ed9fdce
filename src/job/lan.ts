/** The LAN as a job script sees it: names instead of peers, ready() and exec() instead of reports and leases. */
import { setTimeout as sleep } from 'node:timers/promises';
import { KithError } from '../base/errors.ts';
import type { Plan } from '../protocol/plan.ts';
import type { ExecOptions, ExecResult, Guest, Lan, Link } from './define.ts';
import { execRemote, type Ask } from './guest-client.ts';
import type { Place } from './membership.ts';

/** One answer within this many seconds counts as reachable; over a paced chat server an echo takes seconds. */
const PING_SECONDS = { fast: 5, slow: 20 };

/** A master that cannot ping at all must not be asked without a breath in between. */
const RETRY_MS = 250;

export interface LanDeps {
  readonly ask: Ask;
  /** The newest plan and who carries it out. */
  readonly plan: () => Plan;
  readonly places: () => readonly Place[];
  readonly topology: string;
  readonly link: (a: string, b: string) => Link;
  /** Fewer workers than this are not the LAN that the job asked for. */
  readonly min: number;
  /** Why the last guest was lost, if one was. */
  readonly lastLoss: () => string | undefined;
  /** Resolves when a report or the plan changed. */
  readonly changed: (signal: AbortSignal) => Promise<void>;
  readonly signal: AbortSignal;
}

export function createLan(deps: LanDeps): Lan {
  const { ask, plan, places } = deps;

  const guests = (): Guest[] =>
    plan().guests.flatMap((planned): Guest[] => {
      const place = places().find(({ peer }) => peer === planned.peer);
      if (!place) return [];
      const { name, role, mac, address } = planned;
      return [
        { name, role, mac, address, peer: place.nick, exec: (command, options) => exec(place, command, options) },
      ];
    });

  const exec = async (place: Place, command: readonly string[], options: ExecOptions = {}): Promise<ExecResult> => {
    const signal = options.signal ? AbortSignal.any([options.signal, deps.signal]) : deps.signal;
    const outcome = await execRemote(ask, place, command, { timeoutSeconds: options.timeoutSeconds ?? 60, signal });
    return {
      exitCode: outcome.exitCode,
      stdout: outcome.stdout.toString('utf8'),
      stderr: outcome.stderr.toString('utf8'),
    };
  };

  const guest = (name: string): Guest => {
    const found = guests().find((each) => each.name === name);
    if (found) return found;
    const known = guests().map((each) => each.name);
    throw new KithError({
      code: 'job.no-guest',
      message: `there is no guest ${name}`,
      hint: `the guests are ${known.join(', ')}`,
    });
  };

  const pingSeconds = () => (plan().wires.some((rung) => rung !== 'stanza') ? PING_SECONDS.fast : PING_SECONDS.slow);

  /** One shell loop in a guest: prints the addresses that answered, so that a shell that fails is silence. Addresses come from a checked plan. */
  const silentFrom = async (from: Guest, targets: readonly Guest[], options: ExecOptions): Promise<string[]> => {
    const wait = pingSeconds();
    const script =
      'wait=$1; shift; for a; do { ping -c 1 -W $wait $a || ping -c 2 -W $wait $a; } >/dev/null 2>&1 && echo "answered $a" & done; wait';
    const argv = ['sh', '-c', script, 'ping-all', String(wait), ...targets.map(({ address }) => address)];
    const { stdout } = await from.exec(argv, { timeoutSeconds: 4 * wait + 60, ...options });
    return targets
      .filter(({ address }) => !stdout.split('\n').includes(`answered ${address}`))
      .map(({ name }) => `${from.name} -> ${name}`);
  };

  return {
    get subnet() {
      return plan().lan.subnet;
    },
    get wires() {
      return plan().wires;
    },
    topology: deps.topology,
    get guests() {
      return guests();
    },
    get master() {
      return guest('master');
    },
    guest,
    link: deps.link,
    async ready(options = {}) {
      const timeout = AbortSignal.timeout((options.timeoutSeconds ?? 300) * 1000);
      const signal = AbortSignal.any([timeout, deps.signal, ...(options.signal ? [options.signal] : [])]);
      try {
        // The master guest must hear each worker: then DHCP, links and switches all work. Whom we lose meanwhile counts no more.
        for (let silent: readonly string[] | undefined; silent === undefined || silent.length > 0;) {
          await allUp(deps, signal);
          const workers = guests().filter(({ role }) => role === 'worker');
          silent = workers.length > 0 ? await silentFrom(guest('master'), workers, { signal }) : [];
          if (silent.length > 0) await sleep(RETRY_MS, undefined, { signal });
        }
      } catch (error) {
        if (!timeout.aborted || deps.signal.aborted) throw error;
        const late = places().filter(({ report }) => report?.state !== 'up');
        throw new KithError({
          code: 'job.not-ready',
          message: `the LAN is not ready after ${options.timeoutSeconds ?? 300} s: ${late.map(({ nick }) => nick).join(', ') || 'guests do not answer'}`,
          hint: 'look at kith ps and kith logs <guest>',
          cause: error,
        });
      }
    },
    execAll: (command, options) =>
      Promise.all(guests().map(async (each) => ({ guest: each.name, ...(await each.exec(command, options)) }))),
    async pingAll(options = {}) {
      const all = guests();
      const silent = await Promise.all(
        all.map((from) =>
          silentFrom(
            from,
            all.filter((to) => to.name !== from.name),
            options,
          ),
        ),
      );
      const pairs = all.length * (all.length - 1);
      return { pairs, reachable: pairs - silent.flat().length, silent: silent.flat() };
    },
  };
}

async function allUp(deps: LanDeps, signal: AbortSignal): Promise<void> {
  for (;;) {
    const places = deps.places();
    const loss = deps.lastLoss();
    if (loss !== undefined && places.length - 1 < deps.min) {
      throw new KithError({
        code: 'job.guest-failed',
        message: `fewer than ${deps.min} workers are left: ${loss}`,
        hint: 'kith logs <guest> shows the console of a guest; more peers may join while the job runs',
      });
    }
    if (places.length > 0 && places.every(({ report }) => report?.state === 'up')) return;
    await deps.changed(signal);
  }
}
