/** Whose device is behind a lease or a link here: remembered, because the server can hide somebody while a ban of him comes. */
import type { Circle } from '../trust/circle.ts';

export interface Partners {
  /** He asks for a lease, or gets a link. */
  remember(jid: string): void;
  /** Empty: nobody whom we have met. */
  deviceOf(jid: string): string;
}

/** Beyond it those are forgotten that are in no plan here. */
const MAX_PARTNERS = 1000;

/** `isInPlan`: a plan that is carried out here names this peer. */
export function createPartners(circle: Circle, isInPlan: (jid: string) => boolean): Partners {
  const devices = new Map<string, string>();
  return {
    remember(jid) {
      const device = circle.member(jid)?.device;
      if (device !== undefined) devices.set(jid, device);
      for (const other of devices.keys())
        if (devices.size > MAX_PARTNERS && other !== jid && !isInPlan(other)) devices.delete(other);
    },
    deviceOf: (jid) => circle.member(jid)?.device ?? devices.get(jid) ?? circle.refusedKey(jid) ?? '',
  };
}
