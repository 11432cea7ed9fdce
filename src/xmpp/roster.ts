/** Who is in the room, pure: joins, leaves, capacity, and who has been silent for too long to be alive. */
import { DEAD_AFTER_MS } from '../protocol/limits.ts';
import type { Capacity } from '../protocol/capacity.ts';
import { ownText } from './xml.ts';

export interface Occupant {
  /** Full JID: where requests go. */
  readonly jid: string;
  readonly nick: string;
  /** Absent: not announced, or what was announced is not valid. */
  readonly capacity?: Capacity;
  /** Clock time of joining. */
  readonly since: number;
  /** False: silent for DEAD_AFTER_MS. Presence alone is no proof of life: servers keep ghosts for minutes. */
  readonly alive: boolean;
}

export interface RoomEvent {
  readonly kind: 'joined' | 'left' | 'dead' | 'revived' | 'capacity';
  readonly occupant: Occupant;
}

interface Entry {
  occupant: Occupant;
  seenAt: number;
  /** False after a fresh session of ours, until the room names him again. */
  confirmed: boolean;
}

/** A room of more is not ours; beyond it newcomers are not remembered. */
const MAX_OCCUPANTS = 1000;

export class Roster {
  readonly #byJid = new Map<string, Entry>();

  occupants(): readonly Occupant[] {
    return [...this.#byJid.values()].map((entry) => entry.occupant);
  }

  /** An available presence. `capacity` is undefined when it carries none that is valid. */
  present(who: { jid: string; nick: string; capacity: Capacity | undefined }, now: number): RoomEvent[] {
    const { capacity } = who;
    const [jid, nick] = [ownText(who.jid), ownText(who.nick)];
    const known = this.#byJid.get(jid);
    const facts = { jid, nick, ...(capacity ? { capacity } : {}) };
    if (!known) {
      if (this.#byJid.size >= MAX_OCCUPANTS) return [];
      const occupant = { ...facts, since: now, alive: true };
      this.#byJid.set(jid, { occupant, seenAt: now, confirmed: true });
      return [{ kind: 'joined', occupant }];
    }
    known.confirmed = true;
    const changed = JSON.stringify(known.occupant.capacity) !== JSON.stringify(capacity);
    known.occupant = { ...facts, since: known.occupant.since, alive: known.occupant.alive };
    const events = this.seen(jid, now);
    return changed ? [...events, { kind: 'capacity', occupant: known.occupant }] : events;
  }

  /** Without a JID it is whoever has the nickname. */
  left(nick: string, jid?: string): RoomEvent[] {
    const entry = (jid === undefined ? undefined : this.#byJid.get(jid)) ?? this.#named(nick);
    if (!entry) return [];
    this.#byJid.delete(entry.occupant.jid);
    return [{ kind: 'left', occupant: entry.occupant }];
  }

  /** Any stanza of his. */
  seen(jid: string, now: number): RoomEvent[] {
    const entry = this.#byJid.get(jid);
    if (!entry) return [];
    entry.seenAt = now;
    if (entry.occupant.alive) return [];
    entry.occupant = { ...entry.occupant, alive: true };
    return [{ kind: 'revived', occupant: entry.occupant }];
  }

  seenNick(nick: string, now: number): RoomEvent[] {
    const entry = this.#named(nick);
    return entry ? this.seen(entry.occupant.jid, now) : [];
  }

  /** We could not hear anybody for a while: silence until now proves nothing. */
  forgive(now: number): void {
    for (const entry of this.#byJid.values()) entry.seenAt = Math.max(entry.seenAt, now);
  }

  /** We join anew and will be told who is there. Who is not named again gets the time of the dead to come back himself. */
  doubt(now: number): void {
    this.forgive(now);
    for (const entry of this.#byJid.values()) entry.confirmed = false;
  }

  sweep(now: number): RoomEvent[] {
    const events: RoomEvent[] = [];
    for (const [jid, entry] of this.#byJid) {
      if (now - entry.seenAt < DEAD_AFTER_MS) continue;
      if (!entry.confirmed) {
        this.#byJid.delete(jid);
        events.push({ kind: 'left', occupant: entry.occupant });
      } else if (entry.occupant.alive) {
        entry.occupant = { ...entry.occupant, alive: false };
        events.push({ kind: 'dead', occupant: entry.occupant });
      }
    }
    return events;
  }

  clear(): void {
    this.#byJid.clear();
  }

  #named(nick: string): Entry | undefined {
    for (const entry of this.#byJid.values()) if (entry.occupant.nick === nick) return entry;
    return undefined;
  }
}
