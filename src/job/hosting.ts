/** One guest of one LAN on this machine: the fabric that joins it to the others, and the guest itself. */
import { describeError, isAbort, KithError } from '../base/errors.ts';
import type { GuestConsole, RunningGuest } from '../guest/guest.ts';
import type { RunHandler } from '../net/port.ts';
import type { GuestReport, GuestState } from '../protocol/messages.ts';
import type { Plan, PlannedGuest } from '../protocol/plan.ts';
import { openFabric, type Fabric, type FabricDeps } from './fabric.ts';

export interface HostingDeps extends FabricDeps {
  /** Our full JID. */
  readonly self: string;
  /** Fetches the image if need be and boots; `onState` tells `fetching` and `booting`. */
  readonly boot: (order: {
    readonly plan: Plan;
    readonly guest: PlannedGuest;
    readonly onRun: RunHandler;
    readonly onState: (state: GuestState) => void;
    readonly onConsole: (console: GuestConsole) => void;
    readonly signal: AbortSignal;
  }) => Promise<RunningGuest>;
  /** Something that the initiator should know changed. */
  readonly onChange: () => void;
}

export interface Hosting extends AsyncDisposable {
  readonly plan: Plan;
  readonly guest: PlannedGuest;
  readonly running: RunningGuest | undefined;
  /** From power-on, also of a guest that never comes up. */
  readonly console: GuestConsole | undefined;
  readonly fabric: Pick<Fabric, 'setLink' | 'tapOf' | 'cut'>;
  /** A newer revision: links come and go, the guest stays. */
  apply(plan: Plan): void;
  report(): Promise<GuestReport>;
}

export function openHosting(first: Plan, deps: HostingDeps): Hosting {
  const planned = guestOf(first, deps.self);
  const log = deps.log.child({ job: first.job.name, guest: planned.name });
  const stop = new AbortController();
  const fabric = openFabric(first, planned.node, { ...deps, log });
  let plan = first;
  let state: GuestState = 'fetching';
  let reason: string | undefined;
  let running: RunningGuest | undefined;
  let terminal: GuestConsole | undefined;

  const change = (next: GuestState, why?: string) => {
    if (state === next && reason === why) return;
    state = next;
    reason = why;
    log.info(`guest ${next}`, { reason: why });
    deps.onChange();
  };

  const boot = async () => {
    try {
      running = await deps.boot({
        plan: first,
        guest: planned,
        onRun: fabric.fromPort,
        onState: change,
        onConsole: (opened) => {
          terminal = opened;
        },
        signal: stop.signal,
      });
      if (stop.signal.aborted) {
        await running[Symbol.asyncDispose](); // the end came between the last look of the boot and here
        return;
      }
      fabric.attachPort(running.port);
      change('up');
      const why = await running.exited;
      change('stopped', why);
    } catch (error) {
      if (!(stop.signal.aborted && isAbort(error))) change('failed', describeError(error).slice(0, 1000));
    }
  };

  const booted = boot();
  let disposed: Promise<void> | undefined;

  return {
    guest: planned,
    fabric,
    get plan() {
      return plan;
    },
    get running() {
      return running;
    },
    get console() {
      return terminal;
    },
    apply(next) {
      plan = next;
      fabric.apply(next);
    },
    async report() {
      const residentMiB = await running?.residentMiB();
      return {
        state,
        ...(reason === undefined ? {} : { reason }),
        ...(running
          ? { bootSeconds: Math.round(running.bootSeconds * 100) / 100, accelerator: running.accelerator }
          : {}),
        ...(residentMiB === undefined ? {} : { residentMiB }),
        links: fabric.links(),
        drops: fabric.drops(),
      };
    },
    [Symbol.asyncDispose]() {
      disposed ??= (async () => {
        stop.abort();
        await fabric[Symbol.asyncDispose]();
        await running?.[Symbol.asyncDispose]();
        await booted;
      })();
      return disposed;
    },
  };
}

/** Our guest of a plan, or a refusal: a plan that does not name us is none of ours. */
export function guestOf(plan: Plan, self: string): PlannedGuest {
  const guest = plan.guests.find(({ peer }) => peer === self);
  if (!guest)
    throw new KithError({ code: 'job.not-in-plan', message: 'the plan has no guest for this peer', retry: 'never' });
  return guest;
}
