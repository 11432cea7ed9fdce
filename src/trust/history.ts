/**
 * What the processes of others have said: which of their sessions are over, which counters were taken. It outlives their leaving, because
 * the server can say at any time that somebody has left, and show him again.
 */
import { asciiJson } from '../base/ascii.ts';
import { CounterWindow } from './counters.ts';

export interface History {
  readonly device: string;
  /** Newest last; the one before is taken for a while, because messages are under way. */
  readonly sessions: readonly { readonly session: string; readonly until: number }[];
  /** Of its newest hello. */
  readonly session: string;
  readonly counter: number;
  /** Does this session belong to the past? */
  isOver(session: string): boolean;
  /** A hello was believed. */
  said(session: string, counter: number, graceUntil: number): void;
  /** It was said to have left: if it comes back with another session it has a new life, and nothing is under way. */
  left(): void;
  /** Counters of a session; of one that was not said they are kept nowhere. */
  window(session: string): CounterWindow;
  /** A message of this time was taken. */
  took(time: number): void;
}

export interface Histories {
  /** Undefined: nothing of it was ever believed. */
  find(jid: string, device: string): History | undefined;
  open(jid: string, device: string): History;
}

/** Peers that are remembered, about 500 bytes each: a room of 200 whose members all come back three times. */
const MAX_HISTORIES = 1000;
/** A session ends at each ban. */
const MAX_OVER = 64;

/** `isHere`: these are not forgotten; at most half as many as are remembered. */
export function createHistories(isHere: (jid: string) => boolean): Histories {
  const kept = new Map<string, { readonly jid: string; readonly history: Memory }>();
  /** Senders' time of the newest message of anybody who was forgotten: what is older could be a repetition. */
  let floor = 0;

  const nameOf = (jid: string, device: string) => asciiJson([jid, device]);
  const find = (jid: string, device: string): Memory | undefined => kept.get(nameOf(jid, device))?.history;

  return {
    find,
    open(jid, device) {
      const name = nameOf(jid, device);
      const history = find(jid, device) ?? new Memory(device, floor);
      // Set again: who was not heard of for longest is forgotten first.
      kept.delete(name);
      kept.set(name, { jid, history });
      for (const [oldest, { jid: other, history: old }] of kept) {
        if (kept.size <= MAX_HISTORIES) break;
        if (other === jid || isHere(other)) continue;
        kept.delete(oldest);
        floor = Math.max(floor, old.newest);
      }
      return history;
    },
  };
}

class Memory implements History {
  readonly device: string;
  sessions: History['sessions'] = [];
  session = '';
  counter = 0;
  /** Time of the newest message that was taken. */
  newest: number;
  readonly #over = new Set<string>();
  readonly #windows = new Map<string, CounterWindow>();
  #floor: number;
  #isAway = false;

  constructor(device: string, floor: number) {
    this.device = device;
    this.newest = floor;
    this.#floor = floor;
  }

  isOver(session: string): boolean {
    return this.#over.has(session);
  }

  said(session: string, counter: number, graceUntil: number): void {
    this.counter = counter;
    this.session = session;
    const last = this.sessions.at(-1);
    const wasAway = this.#isAway;
    this.#isAway = false;
    if (last?.session === session) return;
    if (last) this.#over.add(last.session);
    for (const oldest of this.#over) if (this.#over.size > MAX_OVER) this.#over.delete(oldest);
    this.sessions = [
      ...(last && !wasAway ? [{ session: last.session, until: graceUntil }] : []),
      { session, until: Number.POSITIVE_INFINITY },
    ];
    for (const old of this.#windows.keys()) {
      if (this.sessions.some((each) => each.session === old)) continue;
      this.#windows.delete(old);
      this.#floor = this.newest;
    }
  }

  left(): void {
    this.#isAway = true;
  }

  window(session: string): CounterWindow {
    const window = this.#windows.get(session) ?? new CounterWindow(this.#floor);
    if (this.sessions.some((each) => each.session === session)) this.#windows.set(session, window);
    return window;
  }

  took(time: number): void {
    this.newest = Math.max(this.newest, time);
  }
}
