/** One signal of a WebRTC attempt, checked before it comes near the native library. */
import { isIP } from 'node:net';
import { KithError } from '../base/errors.ts';
import { parser } from '../base/validate.ts';

export interface Description {
  readonly type: 'offer' | 'answer';
  readonly sdp: string;
  /** Of an answer: the certificate fingerprint that the offer named, so that what is signed speaks of both ends. */
  readonly answers?: string;
}

export interface Candidate {
  readonly candidate: string;
  readonly sdpMLineIndex?: number | null;
  readonly sdpMid?: string | null;
}

/** Several candidates share one signal: each signal is a message through the server, which counts bytes. */
export interface Candidates {
  readonly candidates: readonly Candidate[];
}

export type RtcSignal = Description | Candidates;

/** Ours have about 600 bytes. */
const MAX_SDP_BYTES = 16_384;
const MAX_CANDIDATE_BYTES = 512;
/** `sha-512` and 64 bytes in hexadecimal with colons. */
const MAX_FINGERPRINT_LENGTH = 200;
export const MAX_CANDIDATES = 16;

const record = (properties: Record<string, unknown>, optional: Record<string, unknown> = {}) => ({
  type: 'object',
  additionalProperties: false,
  required: Object.keys(properties),
  properties: { ...properties, ...optional },
});

const sdpText = { type: 'string', minLength: 1, maxLength: MAX_SDP_BYTES };

const parseShape = parser<RtcSignal>('signal', 'wire.signal', {
  type: 'object',
  anyOf: [
    record({ type: { type: 'string', const: 'offer' }, sdp: sdpText }),
    record(
      { type: { type: 'string', const: 'answer' }, sdp: sdpText },
      { answers: { type: 'string', minLength: 1, maxLength: MAX_FINGERPRINT_LENGTH } },
    ),
    record({
      candidates: {
        type: 'array',
        minItems: 1,
        maxItems: MAX_CANDIDATES,
        items: record(
          { candidate: { type: 'string', minLength: 1, maxLength: MAX_CANDIDATE_BYTES } },
          {
            sdpMLineIndex: { type: ['integer', 'null'], minimum: 0, maximum: 15 },
            sdpMid: { type: ['string', 'null'], maxLength: 3 },
          },
        ),
      },
    }),
  ],
});

/** Printable ASCII and line ends: SDP as libdatachannel writes it (RFC 8866 allows more, we need none of it). */
const SDP_TEXT = /^[\x20-\x7e\r\n]*$/;

/** `candidate:1 1 UDP 2122317823 127.0.0.1 40000 typ host …` (RFC 8839, 5.1). Names instead of addresses would make us ask DNS for a stranger. */
const CANDIDATE =
  /^(?:a=)?candidate:[A-Za-z0-9+/]{1,32} [1-9]\d{0,2} [A-Za-z]{2,8} \d{1,10} ([0-9A-Fa-f.:]{2,45}) (\d{1,5}) typ [a-z]{1,12}(?: [\x21-\x7e]+)*$/;

/** Throws KithError `wire.signal`. */
export function parseSignal(data: unknown): RtcSignal {
  const signal = parseShape(data);
  if ('sdp' in signal) {
    if (!SDP_TEXT.test(signal.sdp)) throw refused('its description is not plain text');
    for (const line of signal.sdp.split(/\r?\n/)) if (line.startsWith('a=candidate:')) checkCandidate(line);
    return signal;
  }
  return {
    candidates: signal.candidates.map(({ candidate, sdpMLineIndex, sdpMid }) => {
      checkCandidate(candidate);
      return { candidate, sdpMLineIndex: sdpMLineIndex ?? 0, sdpMid: sdpMid ?? '0' };
    }),
  };
}

/** `sha-256 AB:CD:…` (RFC 8122, 5): the certificate that DTLS will insist on. Undefined: none, or several. */
export function fingerprintIn(sdp: string): string | undefined {
  const found = sdp.split(/\r?\n/).filter((line) => line.startsWith('a=fingerprint:'));
  const [only] = new Set(found.map((line) => line.slice('a=fingerprint:'.length).trim()));
  return new Set(found).size === 1 && only !== undefined && only.length <= MAX_FINGERPRINT_LENGTH ? only : undefined;
}

/** The first signal of an attempt, of whichever rung. */
export const isOffer = (data: unknown): boolean =>
  typeof data === 'object' &&
  data !== null &&
  'type' in data &&
  (data.type === 'offer' || data.type === 'direct-offer');

function checkCandidate(line: string): void {
  const [, address = '', port = ''] = CANDIDATE.exec(line) ?? [];
  if (isIP(address) === 0 || Number(port) < 1 || Number(port) > 65_535)
    throw refused('its candidate has no address and port');
}

function refused(why: string): KithError {
  return new KithError({ code: 'wire.signal', message: `signal is not valid: ${why}`, retry: 'never' });
}
