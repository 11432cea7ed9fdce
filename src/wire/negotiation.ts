/** The signals of one attempt: in which order they go out, and which of the other end's are let in. */
import type { Instance, SignalData } from 'simple-peer';
import { describeError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { fingerprintIn, MAX_CANDIDATES, parseSignal, type Candidate } from './signal.ts';
import type { SignalPipe } from './signaling.ts';

/*
 *   offering end                                   answering end
 *     offer, without candidates        ->
 *                                      <-            answer, and candidates
 *     candidates                       ->
 *
 * The offer has no candidates because the library cannot bear to be reached while it takes in an answer: libdatachannel lets ICE
 * and DTLS start on another thread before it has stored the description, and then refuses the fingerprint or forgets the
 * channel (seen in one of ten attempts on loopback). Nobody can reach an end whose address he does not know.
 */

/** An honest end sends one description and a few lists of candidates. */
const MAX_SIGNALS = 32;

/** Candidates that are found within this time share one message. */
const GATHER_MS = 50;

export function negotiate(options: {
  readonly peer: Instance;
  readonly offer: boolean;
  readonly pipe: SignalPipe;
  readonly log: Log;
  /** A signal of ours did not get through. */
  readonly fail: (cause: unknown) => void;
  /** What came cannot be the answer to us. */
  readonly refuse: (cause: Error) => void;
}): () => void {
  const { peer, offer, pipe, log, fail, refuse } = options;
  /** Certificate fingerprint of the offer, ours or theirs: the answer has to name it. */
  let offered: string | undefined;
  let count = 0;
  let described = false;
  let early: Candidate[] = [];
  let found: Candidate[] = [];
  let timer: NodeJS.Timeout | undefined;

  const send = (data: unknown) => void pipe.send(data).catch(fail);

  function sendCandidates(): void {
    timer = undefined;
    while (found.length > 0) send({ candidates: found.splice(0, MAX_CANDIDATES) });
  }

  function fromPeer(data: SignalData): void {
    if ('sdp' in data && typeof data.sdp === 'string') {
      if (offer) offered = fingerprintIn(data.sdp);
      send(
        offer
          ? { type: data.type, sdp: withoutCandidates(data.sdp) }
          : { type: data.type, sdp: data.sdp, answers: offered },
      );
    } else if ('candidate' in data) {
      const { candidate, sdpMLineIndex, sdpMid } = data.candidate;
      found.push({ candidate, sdpMLineIndex, sdpMid });
      if (described) timer ??= setTimeout(sendCandidates, GATHER_MS);
    }
  }

  function fromPipe(data: unknown): void {
    if (++count > MAX_SIGNALS) return;
    try {
      const signal = parseSignal(data);
      if ('candidates' in signal) {
        // One that comes before the description would end the process in the native library.
        if (described) add(signal.candidates);
        else early.push(...signal.candidates);
      } else if (!described && signal.type === (offer ? 'answer' : 'offer')) {
        if (!offer) offered = fingerprintIn(signal.sdp);
        else if (signal.answers !== offered) return refuse(new Error('the answer is to another offer than ours'));
        described = true;
        peer.signal({ type: signal.type, sdp: signal.sdp });
        add(early);
        early = [];
        if (found.length > 0) timer ??= setTimeout(sendCandidates, GATHER_MS);
      }
    } catch (error) {
      log.debug('signal refused', { reason: describeError(error) });
    }
  }

  function add(candidates: readonly Candidate[]): void {
    for (const candidate of candidates) peer.signal({ type: 'candidate', candidate: candidate as never });
  }

  peer.on('signal', fromPeer);
  const stop = pipe.onData(fromPipe);
  return () => {
    stop();
    clearTimeout(timer);
  };
}

const withoutCandidates = (sdp: string): string =>
  sdp
    .split('\r\n')
    .filter((line) => !line.startsWith('a=candidate:') && line !== 'a=end-of-candidates')
    .join('\r\n');
