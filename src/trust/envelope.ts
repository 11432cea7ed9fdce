/** One message to one peer: sealed for it, signed by us, bound to room, both ends, purpose, time and counter. */
import { createHash } from 'node:crypto';
import { asciiJson } from '../base/ascii.ts';
import { parseJson, parser } from '../base/validate.ts';
import { MAX_MESSAGE_BYTES } from '../protocol/limits.ts';
import type { Sealed } from './box.ts';
import type { Device } from './device.ts';
import { signText, unverifiedText } from './signed.ts';

export interface Head {
  readonly room: string;
  /** Full JIDs and sessions of both ends. */
  readonly from: string;
  readonly fromSession: string;
  readonly to: string;
  readonly toSession: string;
  /** Kind of the message, `<kind>.reply` for its answer. */
  readonly purpose: string;
  /** Milliseconds since 1970, by the sender's clock. */
  readonly time: number;
  readonly counter: number;
  /** Of an answer: the id of its question. */
  readonly re?: string;
  /** A newer list of bans than the receiver has shown to know. */
  readonly bans?: string;
}

export interface Envelope extends Head, Sealed {}

/** A full message as base64 and its head. Both Debian servers take 262,144. */
const MAX_ENVELOPE_BYTES = Math.ceil((MAX_MESSAGE_BYTES + 16) / 3) * 4 + 20_480;

/**
 * What the box is bound to, beside what its head says under the signature: a box that is cut out and signed by somebody else names
 * another device and does not open.
 */
export const boxInfo = (head: Pick<Head, 'room' | 'from' | 'to' | 'purpose' | 'counter'>, device: string): string =>
  asciiJson(['kith:0 envelope', device, head.room, head.from, head.to, head.purpose, head.counter]);

export const signEnvelope = (device: Device, envelope: Envelope): string =>
  signText(device, 'envelope', asciiJson(envelope));

/** By which an answer names its question. */
export const idOf = (signed: string): string => createHash('sha256').update(signed).digest('base64url').slice(0, 22);

const text = (maxLength: number) => ({ type: 'string', minLength: 1, maxLength });
const count = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER };

const parseShape = parser<Envelope>('envelope', 'trust.envelope', {
  type: 'object',
  additionalProperties: false,
  required: ['room', 'from', 'fromSession', 'to', 'toSession', 'purpose', 'time', 'counter', 'enc', 'box'],
  properties: {
    room: text(1024),
    from: text(1024),
    fromSession: text(22),
    to: text(1024),
    toSession: text(22),
    purpose: text(64),
    time: count,
    counter: count,
    re: text(22),
    bans: text(14_336),
    enc: { type: 'string', pattern: '^[A-Za-z0-9_-]{43}$' },
    box: { type: 'string', minLength: 24, maxLength: MAX_ENVELOPE_BYTES, pattern: '^[A-Za-z0-9+/]+={0,2}$' },
  },
});

/** Well formed; nothing in it is true before the checks have passed. */
export const readEnvelope = (signed: string): Envelope =>
  parseShape(parseJson('envelope', 'trust.envelope', unverifiedText(signed), MAX_ENVELOPE_BYTES));
