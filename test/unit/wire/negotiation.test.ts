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
  const waiters: (() => void)[] = [];
  let hear: (data: unknown) => void = () => {};
  const peer = Object.assign(new EventEmitter(), { signal: (data: unknown) => signalled.push(data) });
  const stop = negotiate({
    peer: peer as unknown as Instance,
    offer,
    log: silentLog,
    fail: () => {},
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
  return { peer, signalled, sent, nextSent, stop, hear: (data: unknown) => hear(data) };
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
