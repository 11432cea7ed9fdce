/** Who is in the room, with what, and how far it is trusted, as the local programs of its owner see it. */
import type { OccupantStatus } from '../control/api.ts';
import type { Circle } from '../trust/circle.ts';
import type { Contacts } from '../trust/contacts.ts';
import { fingerprintOf } from '../trust/device.ts';
import type { Room } from '../xmpp/room.ts';

export const occupantsOf = (room: Room, circle: Circle): OccupantStatus[] =>
  room.occupants().map(({ nick, jid, alive, capacity }) => ({
    nick,
    jid,
    alive,
    ...standingOf(circle, jid),
    ...(capacity
      ? {
          role: capacity.role,
          cpus: capacity.cpus,
          memoryMiB: capacity.memoryMiB,
          accelerator: capacity.accelerator,
          confinement: capacity.confinement,
          guests: capacity.guests,
          software: capacity.software,
          accepts: capacity.accepts,
        }
      : {}),
  }));

function standingOf(circle: Circle, jid: string): Pick<OccupantStatus, 'trust' | 'because' | 'device' | 'key'> {
  const member = circle.member(jid);
  const key = member?.device ?? circle.refusedKey(jid);
  return {
    trust: member?.trust ?? 'refused',
    because: member?.because ?? circle.refusal(jid) ?? 'it has not shown who it is',
    ...(key ? { device: fingerprintOf(key), key } : {}),
  };
}

/** Another program of this home has changed the contacts. */
export async function reconsider(
  { contacts, circle }: { readonly contacts: Contacts; readonly circle: Circle },
  forget: readonly string[],
): Promise<void> {
  for (const device of forget) contacts.unpin(device);
  await contacts.saved();
  await contacts.reload();
  circle.reconsider();
}
