/** The way through an XMPP server without the server: two ends, with a tap to turn. */
import type { FrameChannel } from '../../src/wire/stanza.ts';

export interface FakeChannel extends FrameChannel {
  /** False: nothing leaves until it is opened again. */
  open(flowing: boolean): void;
  /** Refuses payloads even though it is ready, as a session that was just lost does. */
  refuse(refusing: boolean): void;
  /** Hands a payload to whoever listens to `from` here. */
  deliver(from: string, link: string, payload: Uint8Array): void;
  readonly sent: readonly Uint8Array[];
  readonly listeners: number;
}

export function fakeChannelPair(): [FakeChannel, FakeChannel] {
  const pair: [FakeChannel, FakeChannel] = [fakeChannel('a', () => pair[1]), fakeChannel('b', () => pair[0])];
  return pair;
}

function fakeChannel(self: string, other: () => FakeChannel): FakeChannel {
  const handlers = new Map<string, (payload: Uint8Array) => void>();
  const ready = new Set<() => void>();
  const sent: Uint8Array[] = [];
  let flowing = true;
  let refusing = false;
  return {
    sent,
    get listeners() {
      return handlers.size + ready.size;
    },
    send(_, link, payload) {
      if (refusing) return false;
      const copy = new Uint8Array(payload);
      sent.push(copy);
      setImmediate(() => other().deliver(self, link, copy));
      return true;
    },
    listen(from, link, handler) {
      const key = `${link} ${from}`;
      handlers.set(key, handler);
      return () => void handlers.delete(key);
    },
    ready: () => flowing,
    onReady(handler) {
      ready.add(handler);
      return () => void ready.delete(handler);
    },
    open(next) {
      flowing = next;
      if (next) for (const handler of ready) handler();
    },
    refuse(next) {
      refusing = next;
    },
    deliver: (from, link, payload) => handlers.get(`${link} ${from}`)?.(payload),
  };
}
