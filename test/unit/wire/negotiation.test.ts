/** The order of signals, with a stand-in for simple-peer: what may cross the line when. */
import { EventEmitter } from 'node:events';
import type { Instance } from 'simple-peer';
import { expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { negotiate } from '../../../src/wire/negotiation.ts';

const CANDIDATE = 'candidate:1 1 UDP 1 127.0.0.1 4000 typ host';
const entry = { candidate: CANDIDATE, sdpMLineIndex: 0, sdpMid: '0' };
const SDP = `v=0\r\na=${CANDIDATE}\r\na=end-of-candidates\r\na=setup:actpass\r\n`;

function fixture(offer: boolean) {
  const signalled: unknown[] = [];
  const sent: unknown[] = [];
  const refused: string[] = [];
  const waiters: (() => void)[] = [];
  let hear: (data: unknown) => void = () => {};
  const peer = Object.assign(new EventEmitter(), { signal: (data: unknown) => signalled.push(data) });
  const stop = negotiate({
    peer: peer as unknown as Instance,
    offer,
    log: silentLog,
    fail: () => {},
    refuse: ({ message }) => refused.push(message),
    pipe: {
      async send(data) {
        sent.push(data);
        for (const waiter of waiters.splice(0)) waiter();
      },
      onData(handler) {
        hear = handler;
        return () => void (hear = () => {});
      },
    },
  });
  const nextSent = () => new Promise<void>((resolve) => waiters.push(resolve));
  return { peer, signalled, sent, refused, nextSent, stop, hear: (data: unknown) => hear(data) };
}

test('candidates that come before the description wait for it', () => {
  const { signalled, hear } = fixture(true);
  hear({ candidates: [entry] });
  expect(signalled).toEqual([]);
  hear({ type: 'answer', sdp: SDP });
  expect(signalled).toEqual([
    { type: 'answer', sdp: SDP },
    { type: 'candidate', candidate: entry },
  ]);
});

test('an offer names no address, and candidates leave together, only after the answer', async () => {
  const { peer, sent, nextSent, hear } = fixture(true);
  peer.emit('signal', { type: 'offer', sdp: SDP });
  peer.emit('signal', { type: 'candidate', candidate: entry });
  peer.emit('signal', { type: 'candidate', candidate: entry });
  expect(sent).toEqual([{ type: 'offer', sdp: 'v=0\r\na=setup:actpass\r\n' }]);
  const next = nextSent();
  hear({ type: 'answer', sdp: SDP });
  await next;
  expect(sent.slice(1)).toEqual([{ candidates: [entry, entry] }]);
});

test('an answer keeps its candidates', () => {
  const { peer, sent } = fixture(false);
  peer.emit('signal', { type: 'answer', sdp: SDP });
  expect(sent).toEqual([{ type: 'answer', sdp: SDP }]);
});

test('an answer names the certificate of the offer, and none that names another is taken', () => {
  const mine = `v=0\r\na=fingerprint:sha-256 AA:BB\r\n`;
  const theirs = `v=0\r\na=fingerprint:sha-256 CC:DD\r\n`;
  const answering = fixture(false);
  answering.hear({ type: 'offer', sdp: mine });
  answering.peer.emit('signal', { type: 'answer', sdp: theirs });
  expect(answering.sent).toEqual([{ type: 'answer', sdp: theirs, answers: 'sha-256 AA:BB' }]);
  for (const answers of ['sha-256 AA:BB', 'sha-256 EE:FF', undefined]) {
    const { peer, signalled, refused, hear } = fixture(true);
    peer.emit('signal', { type: 'offer', sdp: mine });
    hear({ type: 'answer', sdp: theirs, ...(answers ? { answers } : {}) });
    const taken = answers === 'sha-256 AA:BB';
    expect(signalled).toEqual(taken ? [{ type: 'answer', sdp: theirs }] : []);
    expect(refused).toEqual(taken ? [] : ['the answer is to another offer than ours']);
  }
});

test('a second description, and one of the wrong kind, are ignored', () => {
  const { signalled, hear } = fixture(false);
  hear({ type: 'answer', sdp: SDP });
  hear({ type: 'offer', sdp: SDP });
  hear({ type: 'offer', sdp: SDP });
  expect(signalled).toEqual([{ type: 'offer', sdp: SDP }]);
});

test('no more than 32 signals of one attempt are looked at', () => {
  const { signalled, hear } = fixture(false);
  hear({ type: 'offer', sdp: SDP });
  for (let i = 0; i < 100; i++) hear({ candidates: [entry] });
  expect(signalled).toHaveLength(32);
});

test('requests of simple-peer itself stay here', () => {
  const { peer, sent } = fixture(false);
  peer.emit('signal', { type: 'renegotiate', renegotiate: true });
  expect(sent).toEqual([]);
});
