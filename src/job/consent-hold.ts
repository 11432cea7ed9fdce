/** The owner's hand on guests that run: pause, resume, less of the processor. A cap for all holds for guests that come later, too. */
import { KithError } from '../base/errors.ts';
import type { RunningGuest } from '../guest/guest.ts';

export interface Hold {
  readonly guest: string;
  readonly paused: boolean;
  /** Of the time of its own processors; undefined: no cap. */
  readonly cpuPercent?: number;
}

export type HoldAction =
  | { readonly action: 'show' | 'pause' | 'resume' }
  /** No number: no cap. */
  | { readonly action: 'cpu'; readonly percent?: number | undefined };

export interface Holder {
  /** On the named guest, or on all that run here. */
  apply(change: HoldAction, guest: string | undefined): Promise<Hold[]>;
  /** A guest that has just come up. */
  adopt(guest: RunningGuest): Promise<void>;
}

interface State {
  paused: boolean;
  cpuPercent: number | undefined;
}

export function createHolder(running: () => readonly RunningGuest[]): Holder {
  const states = new WeakMap<RunningGuest, State>();
  let forAll: number | undefined;

  const stateOf = (guest: RunningGuest): State => {
    const state = states.get(guest) ?? { paused: false, cpuPercent: undefined };
    states.set(guest, state);
    return state;
  };

  const change = async (guest: RunningGuest, what: HoldAction): Promise<Hold> => {
    const state = stateOf(guest);
    if (what.action === 'pause') await guest.pause();
    if (what.action === 'resume') await guest.resume();
    if (what.action === 'cpu') await guest.limitCpu(what.percent);
    if (what.action === 'pause' || what.action === 'resume') state.paused = what.action === 'pause';
    if (what.action === 'cpu') state.cpuPercent = what.percent;
    return {
      guest: guest.name,
      paused: state.paused,
      ...(state.cpuPercent === undefined ? {} : { cpuPercent: state.cpuPercent }),
    };
  };

  return {
    async apply(what, name) {
      const guests = running().filter((guest) => name === undefined || guest.name === name);
      if (name !== undefined && guests.length === 0) throw noGuest(name, running());
      if (name === undefined && what.action === 'cpu') forAll = what.percent;
      return Promise.all(guests.map((guest) => change(guest, what)));
    },
    async adopt(guest) {
      if (forAll !== undefined) await change(guest, { action: 'cpu', percent: forAll });
    },
  };
}

function noGuest(name: string, running: readonly RunningGuest[]): KithError {
  const names = running.map((guest) => guest.name).join(', ');
  return new KithError({
    code: 'job.no-guest',
    message: `no guest ${name} runs on this peer`,
    hint: names ? `those that run here: ${names}` : 'none runs here now',
  });
}
