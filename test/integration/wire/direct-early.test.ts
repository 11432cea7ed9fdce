/** The direct wire while a signal of ours is still on its way: the other end may be quicker, and may mean ill. */
import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { expect, test, vi } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { openDirect } from '../../../src/wire/direct.ts';
import { prefacesOf, type DirectAnswer, type DirectOffer } from '../../../src/wire/direct-signal.ts';
import type { SignalPipe } from '../../../src/wire/signaling.ts';
import { directStage, type DirectStage } from '../../harness/direct.ts';

const LAN = 1;
const NONCE = 'A'.repeat(22);
const GO = 1;

/** What is sent over it stays under way until `arrives` or `fails`. */
function slowPipe() {
  const said = Promise.withResolvers<unknown>();
  const under = Promise.withResolvers<void>();
  let hear: (data: unknown) => void = () => {};
  const pipe: SignalPipe = {
    send(data) {
      said.resolve(data);
      return under.promise;
    },
    onData(handler) {
      hear = handler;
      return () => {};
    },
  };
  return {
    pipe,
    said: said.promise,
    hear: (data: unknown) => hear(data),
    arrives: () => under.resolve(),
    fails: (why: Error) => under.reject(why),
  };
}

/** Bob answers an offer that Ada makes by hand; his answer is under way. */
async function answering({ listeners: { a: ada, b: bob } }: DirectStage) {
  const { pipe, said, hear, ...way } = slowPipe();
  const common = { pipe, lan: LAN, onBatch: () => {}, log: silentLog };
  // Longer than any test: what closes a connection is not the end of the attempt.
  const opening = openDirect({ ...common, listener: bob, offer: false, timeoutMs: 120_000 });
  opening.catch(() => {});
  const offer: DirectOffer = {
    type: 'direct-offer',
    lan: LAN,
    fingerprint: ada.fingerprint,
    nonce: NONCE,
    candidates: [],
  };
  hear(offer);
  const answer = (await said) as DirectAnswer;
  const { offerer } = prefacesOf(offer, answer, LAN);
  return {
    ...way,
    opening,
    /** Ada dials, and says her first words at once. Resolves with what Bob says. */
    dial: async (words: readonly number[] = []) => {
      const tcp = connectTcp(answer.candidates[0]!);
      const socket = connectTls({ socket: tcp, secureContext: ada.context, rejectUnauthorized: false });
      const heard = Promise.withResolvers<void>();
      const closed = Promise.withResolvers<void>();
      socket.on('error', () => {});
      socket.on('data', () => heard.resolve());
      socket.on('close', () => closed.resolve());
      socket.on('secureConnect', () => socket.write(Buffer.concat([offerer, Buffer.from(words)])));
      await Promise.race([heard.promise, closed.promise]);
      return { tcp, socket, closed: closed.promise };
    },
  };
}

test('an answer that is refused before the offer has arrived is an error of this attempt, and nothing else', async () => {
  await using stage = await directStage();
  const { pipe, said, hear, arrives } = slowPipe();
  const unhandled = vi.fn<() => void>();
  process.on('unhandledRejection', unhandled);
  const opening = openDirect({
    listener: stage.listeners.a,
    offer: true,
    pipe,
    lan: LAN,
    onBatch: () => {},
    log: silentLog,
  });
  const { fingerprint } = (await said) as DirectOffer;
  const { b: ben } = stage.listeners;
  const facts = { lan: LAN + 1, fingerprint: ben.fingerprint, nonce: NONCE, candidates: [] };
  hear({ type: 'direct-answer', ...facts, answers: fingerprint } satisfies DirectAnswer);
  await new Promise(setImmediate); // rejections that nobody handles are told before
  arrives();
  await expect(opening).rejects.toThrow('the peer means LAN 2');
  process.off('unhandledRejection', unhandled);
  expect(unhandled).not.toHaveBeenCalled();
});

test('a connection that was chosen, and lost before the answer has arrived, is a wire that is closed', async () => {
  await using stage = await directStage();
  const { opening, dial, arrives } = await answering(stage);
  const { tcp, closed } = await dial([GO]);
  const lost = vi.waitFor(() => expect(chosen()).toBe(0), { timeout: 20_000 });
  tcp.resetAndDestroy();
  await closed;
  await lost;
  arrives();
  const wire = await opening;
  expect(await wire.closed).toBe('the connection was lost');
  await wire[Symbol.asyncDispose]();
});

/** Connections of this process, all on loopback. */
const chosen = () => process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length;

test('a connection that was chosen is closed when the answer does not arrive', async () => {
  await using stage = await directStage();
  const { opening, dial, fails } = await answering(stage);
  const { closed } = await dial([GO]);
  fails(new Error('the mailbox is gone'));
  await expect(opening).rejects.toThrow('the mailbox is gone');
  await closed;
});

test('a peer that dials again and again, and never chooses, holds a few connections', async () => {
  await using stage = await directStage();
  const { dial, fails } = await answering(stage);
  const dialled = await Promise.all(Array.from({ length: 40 }, () => dial()));
  let left = dialled.length;
  for (const { closed } of dialled) void closed.then(() => left--);
  await vi.waitFor(() => expect(left).toBeLessThanOrEqual(16), { timeout: 20_000 });
  fails(new Error('over'));
  await Promise.all(dialled.map(({ closed }) => closed));
});
