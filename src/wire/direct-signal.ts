/** The two signals of a direct attempt, checked at the door, and what follows from both: the words that open the connection. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { asciiJson } from '../base/ascii.ts';
import { KithError } from '../base/errors.ts';
import { HASH_PATTERN } from '../base/ids.ts';
import { parser } from '../base/validate.ts';
import { isEndpoint, MAX_ENDPOINTS, type Endpoint } from './addresses.ts';

interface Facts {
  /** The LAN that the link is for: two links of two jobs are never joined. */
  readonly lan: number;
  /** SHA-256 of the sender's certificate: the connection is to this one or to nobody. */
  readonly fingerprint: string;
  /** 128 random bits of this attempt: neither signal is worth anything in another one. */
  readonly nonce: string;
  readonly candidates: readonly Endpoint[];
}

export interface DirectOffer extends Facts {
  readonly type: 'direct-offer';
}

export interface DirectAnswer extends Facts {
  readonly type: 'direct-answer';
  /** Fingerprint of the offer, so that what is signed speaks of both ends. */
  readonly answers: string;
}

export type DirectSignal = DirectOffer | DirectAnswer;

const hash = { type: 'string', pattern: HASH_PATTERN };
/** A host without any address can still dial. */
const facts = {
  lan: { type: 'integer', minimum: 0, maximum: 0xffff_ffff },
  fingerprint: hash,
  nonce: { type: 'string', pattern: '^[A-Za-z0-9_-]{22}$' },
  candidates: {
    type: 'array',
    maxItems: MAX_ENDPOINTS,
    items: {
      type: 'object',
      additionalProperties: false,
      required: ['host', 'port'],
      properties: {
        host: { type: 'string', minLength: 2, maxLength: 45 },
        port: { type: 'integer', minimum: 1, maximum: 65_535 },
      },
    },
  },
};

const record = (properties: Record<string, unknown>) => ({
  type: 'object',
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
});

const parseShape = parser<DirectSignal>('signal', 'wire.signal', {
  type: 'object',
  anyOf: [
    record({ type: { type: 'string', const: 'direct-offer' }, ...facts }),
    record({ type: { type: 'string', const: 'direct-answer' }, ...facts, answers: hash }),
  ],
});

/** Throws KithError `wire.signal`. */
export function parseDirectSignal(data: unknown): DirectSignal {
  const signal = parseShape(data);
  if (!signal.candidates.every(isEndpoint)) {
    throw new KithError({
      code: 'wire.signal',
      message: 'signal is not valid: one of its candidates is no address of a host',
      retry: 'never',
    });
  }
  return signal;
}

export const isDirect = (data: unknown): boolean =>
  typeof data === 'object' &&
  data !== null &&
  'type' in data &&
  (data.type === 'direct-offer' || data.type === 'direct-answer');

/** What each end says first, and waits for. */
export interface Prefaces {
  readonly offerer: Buffer;
  readonly answerer: Buffer;
}

export const PREFACE_BYTES = 32;

/** In constant time: who does not know it learns nothing from how long the answer took. */
export const isPreface = (said: Buffer, expected: Buffer): boolean =>
  said.length === expected.length && timingSafeEqual(said, expected);

/** Bound to everything that was signalled but the addresses, and to the role: said to its own speaker it opens nothing. */
export function prefacesOf(offer: DirectOffer, answer: DirectAnswer, lan: number): Prefaces {
  const preface = (role: string) =>
    createHash('sha256')
      .update(asciiJson(['kith:0 direct', role, lan, offer.nonce, answer.nonce, offer.fingerprint, answer.fingerprint]))
      .digest();
  return { offerer: preface('offerer'), answerer: preface('answerer') };
}
