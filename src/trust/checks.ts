/** Everything that a hello and an envelope must satisfy, as a table of named checks. Each says why it refuses, or nothing. */
import type { Envelope } from './envelope.ts';
import type { Hello } from './hello.ts';
import { isSignedBy } from './signed.ts';

export interface HelloFacts {
  readonly signed: string;
  readonly hello: Hello;
  /** Full JID that the room names. */
  readonly jid: string;
  readonly room: string;
  /** What that very JID said before, though it may have left since. */
  readonly before: { readonly device: string; readonly session: string; readonly counter: number } | undefined;
  /** It has moved on from this session. */
  readonly over: boolean;
  readonly banned: boolean;
  /** Its account is known with other keys, this one is not pinned for it, and none of those vouches for it. */
  readonly newKey: boolean;
}

export interface EnvelopeFacts {
  readonly signed: string;
  readonly envelope: Envelope;
  /** Full JID that the server names as the sender. */
  readonly from: string;
  readonly room: string;
  readonly self: { readonly jid: string; readonly sessions: readonly string[] };
  readonly sender: { readonly device: string; readonly sessions: readonly string[] };
  readonly banned: boolean;
  readonly now: number;
  /** Id of the question, when an answer is expected. */
  readonly re: string | undefined;
  readonly freshCounter: boolean;
}

export type Checks<F> = Readonly<Record<string, (facts: F) => string | undefined>>;

/** Clocks of laptops are wrong by seconds, seldom by minutes; a message that was held back longer is refused. */
export const MAX_SKEW_MS = 5 * 60_000;

const unless = (holds: boolean, why: string): string | undefined => (holds ? undefined : why);

export const HELLO_CHECKS: Checks<HelloFacts> = {
  signature: ({ hello, signed }) =>
    unless(isSignedBy(hello.device, 'hello', signed), 'its hello is not signed by the key that it names'),
  room: ({ hello, room }) => unless(hello.room === room, 'its hello is for another room'),
  jid: ({ hello, jid }) => unless(hello.jid === jid, 'its hello belongs to somebody else'),
  device: ({ hello, before }) =>
    unless(before === undefined || before.device === hello.device, 'it changed its key while it was here'),
  order: ({ hello, before }) =>
    unless(
      before === undefined || before.session !== hello.session || hello.counter >= before.counter,
      'its hello is older than one that we have',
    ),
  session: ({ over }) => unless(!over, 'its hello is from a session that is over'),
  banned: ({ banned }) => unless(!banned, 'it was banned from this room'),
  newKey: ({ newKey }) => unless(!newKey, 'its key is not the one that we know this friend by'),
};

export const ENVELOPE_CHECKS: Checks<EnvelopeFacts> = {
  signature: ({ sender, signed }) =>
    unless(isSignedBy(sender.device, 'envelope', signed), 'it is not signed by its sender'),
  sender: ({ envelope, from }) => unless(envelope.from === from, 'it was written by somebody else'),
  senderSession: ({ envelope, sender }) =>
    unless(sender.sessions.includes(envelope.fromSession), 'it comes from an earlier life of its sender'),
  receiver: ({ envelope, self }) => unless(envelope.to === self.jid, 'it was written to somebody else'),
  receiverSession: ({ envelope, self }) =>
    unless(self.sessions.includes(envelope.toSession), 'it was written to an earlier life of ours'),
  room: ({ envelope, room }) => unless(envelope.room === room, 'it was written for another room'),
  question: ({ envelope, re }) =>
    unless(
      envelope.re === re,
      re === undefined ? 'it is an answer where none was asked for' : 'it answers another question',
    ),
  time: ({ envelope, now }) =>
    unless(
      Math.abs(envelope.time - now) <= MAX_SKEW_MS,
      'it was held back, or the clocks differ by more than five minutes',
    ),
  counter: ({ freshCounter }) => unless(freshCounter, 'it came before'),
  banned: ({ banned }) => unless(!banned, 'its sender was banned from this room'),
};

/** Name and reason of the first check that refuses. */
export function firstRefusal<F>(
  checks: Checks<F>,
  facts: F,
): { readonly check: string; readonly why: string } | undefined {
  for (const [check, look] of Object.entries(checks)) {
    const why = look(facts);
    if (why !== undefined) return { check, why };
  }
  return undefined;
}
