/** The stage of the hostile tests: one malicious server per file, and for each attack friends who have just met in a new room. */
import { vi } from 'vitest';
import { openFriend, type Friend, type FriendOptions } from './evil-friends.ts';
import type { Outcome } from './evil-rows.ts';
import { startEvilServer, type EvilServer } from './evil-server.ts';
import { startTestServer, type TestServer } from './prosody.ts';
import { soon } from './xmpp.ts';

export interface EvilWorld extends AsyncDisposable {
  readonly prosody: TestServer;
  readonly evil: EvilServer;
  newRoom(): string;
  open(name: string, room: string, more?: Partial<FriendOptions>): Promise<Friend>;
  /** Alice, Ben and Cleo see each other; the attack; they go. */
  among(act: (friends: Trio) => Promise<Outcome>): Promise<Outcome>;
}

export interface Trio {
  readonly evil: EvilServer;
  readonly alice: Friend;
  readonly ben: Friend;
  readonly cleo: Friend;
}

export async function openEvilWorld(): Promise<EvilWorld> {
  const prosody = await startTestServer();
  const evil = await startEvilServer(prosody);
  let rooms = 0;
  const newRoom = () => `evil-${++rooms}@${prosody.server.mucService}`;
  const open: EvilWorld['open'] = (name, room, more = {}) => openFriend({ prosody, evil, name, room, ...more });
  return {
    prosody,
    evil,
    newRoom,
    open,
    async among(act) {
      const room = newRoom();
      await using alice = await open('alice', room);
      await using ben = await open('ben', room);
      await using cleo = await open('cleo', room);
      await acquainted(alice, ben, cleo);
      return await act({ evil, alice, ben, cleo });
    },
    async [Symbol.asyncDispose]() {
      await evil[Symbol.asyncDispose]();
      await prosody[Symbol.asyncDispose]();
    },
  };
}

/** Each believes all others. */
export async function acquainted(...friends: readonly Friend[]): Promise<void> {
  await vi.waitFor(() => {
    for (const one of friends)
      for (const other of friends)
        if (one !== other && !one.circle.member(other.jid)) throw new Error(`${one.jid} does not know ${other.jid}`);
  }, soon);
}

/** What a row does among three friends who have met. */
export const amongFriends =
  (act: (friends: Trio) => Promise<Outcome>) =>
  (on: EvilWorld): Promise<Outcome> =>
    on.among(act);
