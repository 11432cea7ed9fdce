/** Which MAC addresses are behind our own port, where the plan calls it a segment. Pure. */
import type { Clock } from '../base/clock.ts';
import { MAX_LEARNED, type Directory, type MacNumber, type Place } from './directory.ts';

/** The usual ageing time of a bridge (IEEE 802.1D, 7.9.2). */
const AGE_MS = 300_000;

/** A frame comes far more often than its address is due: the time of each is written down once in this while. */
const TOUCH_MS = 10_000;

export interface Learner {
  /** A frame from this address came out of our port and has passed the guards. */
  heard(mac: MacNumber, mine: Place, directory: Directory): void;
  /** Forgets what is old or belongs to others by a new plan, and tells the directory. */
  sync(mine: Place | undefined, directory: Directory): void;
  /** What is left after that. */
  macs(mine: Place | undefined, directory: Directory): readonly MacNumber[];
}

export function createLearner(clock: Pick<Clock, 'now'>, onChange: () => void = () => {}): Learner {
  const heardAt = new Map<MacNumber, number>();
  let last: MacNumber = -1;
  let touch = -Infinity;

  function forgetOld(now: number): void {
    for (const [mac, at] of heardAt) if (now - at > AGE_MS) heardAt.delete(mac);
  }

  function sync(mine: Place | undefined, directory: Directory): void {
    if (heardAt.size === 0 || !mine) return;
    forgetOld(clock.now());
    for (const mac of heardAt.keys()) {
      if (!mine.segment || (directory.nodeOf(mac) ?? mine.node) !== mine.node) heardAt.delete(mac);
    }
    directory.setLearned(mine.node, [...heardAt.keys()]);
  }

  return {
    heard(mac, mine, directory) {
      if (mac === mine.mac) return;
      const now = clock.now();
      if (mac === last && now < touch) return;
      last = mac;
      touch = now + TOUCH_MS;
      const known = heardAt.has(mac);
      if (!known) {
        forgetOld(now);
        if (heardAt.size >= MAX_LEARNED) return;
      }
      heardAt.set(mac, now);
      if (known) return;
      directory.setLearned(mine.node, [...heardAt.keys()]);
      onChange();
    },
    sync,
    macs(mine, directory) {
      sync(mine, directory);
      return [...heardAt.keys()];
    },
  };
}
