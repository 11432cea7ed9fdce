/** Frames that go through the server, sealed from end to end: keys by authenticated HPKE, records as in TLS 1.3 (RFC 8446, 5.2-5.3). */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { asciiJson } from '../base/ascii.ts';
import { receiveSecret, shareSecret, type BoxKey } from './box.ts';

/** One payload on its way. */
export interface SealedFrames {
  /** Names the key: the sender's one-time public key (RFC 9180, `enc`), base64url. */
  readonly key: string;
  /** Counts the payloads under that key. */
  readonly number: number;
  readonly bytes: Uint8Array;
}

export interface FrameCipher {
  /** Undefined: the keys are not there yet; `onReady` says when. */
  seal(to: string, link: string, payload: Uint8Array): SealedFrames | undefined;
  /** Calls back with the payload, at once or when the key is known; never with one that was changed, or that came before. */
  open(from: string, link: string, sealed: SealedFrames, deliver: (payload: Uint8Array) => void): void;
  onReady(handler: () => void): void;
  /** What could not be opened. */
  readonly refused: number;
}

export interface FrameCipherOptions {
  readonly room: string;
  readonly self: () => string;
  readonly ownKey: () => BoxKey;
  /** Box key of a peer that we know, from its signed hello. */
  readonly keyOf: (jid: string) => string | undefined;
}

type Deliver = (payload: Uint8Array) => void;

interface Sending {
  readonly to: string;
  key: string;
  secret: Uint8Array;
  number: number;
}

interface Receiving {
  readonly key: string;
  readonly secret: Uint8Array;
  /** Highest number that was opened. */
  number: number;
}

interface Inbound {
  /** Last opened last. An older one goes on: a server that held its first record back must not make us forget the newest. */
  current: Receiving[];
  /** Keys of earlier wires: what was sealed under them does not come back. */
  readonly retired: Set<string>;
  deriving: { readonly key: string; readonly waiting: [SealedFrames, Deliver][] } | undefined;
}

const TAG_BYTES = 16;
/** Payloads that wait while their key is derived, which takes a millisecond. */
const MAX_WAITING = 32;
/** Keys of one link that live side by side: the sender makes a new one at each ban, and what is under way is for the one before. */
const MAX_CURRENT = 4;
/** Wires of one link that are remembered; a link that was opened more often is opened under new box keys at its next ban or start. */
const MAX_RETIRED = 1024;
/** Links of all peers: 200 guests in a full mesh, twice. */
const MAX_LINKS = 400;

export function createFrameCipher(options: FrameCipherOptions): FrameCipher {
  const { room, self, ownKey, keyOf } = options;
  const sending = new Map<string, Sending | Promise<unknown>>();
  const receiving = new Map<string, Inbound>();
  const handlers = new Set<() => void>();
  let refused = 0;

  const info = (from: string, to: string, link: string) => asciiJson(['kith:0 frames', room, from, to, link]);
  // Ours, too: it is part of what a key is bound to, and may change with a lost session.
  const nameOf = (peer: string, link: string) => asciiJson([self(), peer, link]);

  const makeKey = (name: string, to: string, link: string, box: string): void => {
    const making = async () => {
      try {
        const { enc, secret } = await shareSecret(ownKey(), box, info(self(), to, link));
        touch(sending, name, { to: box, key: enc, secret, number: 0 });
      } catch {
        return void sending.delete(name); // a key that is no point of the curve: asked again with the next frame
      }
      for (const handler of handlers) count(handler);
    };
    touch(sending, name, making());
  };

  /** Nobody above us catches what a handler throws: whoever takes frames counts his own losses, and we those. */
  const count = (handler: () => void): void => {
    try {
      handler();
    } catch {
      refused++;
    }
  };

  /** The first record that opens proves that the key is the peer's. */
  const openFrom = (inbound: Inbound, key: Receiving, sealed: SealedFrames, deliver: Deliver): void => {
    const payload = openRecord(key, sealed);
    if (!payload) return void refused++;
    inbound.current = [...inbound.current.filter((other) => other !== key), key];
    if (inbound.current.length > MAX_CURRENT) retire(inbound);
    count(() => deliver(payload));
  };

  /** One at a time for each link: a server that makes up keys costs us one derivation after the other, and no memory. */
  const derive = (inbound: Inbound, from: string, link: string, key: string, box: string): void => {
    const deriving = { key, waiting: [] as [SealedFrames, Deliver][] };
    inbound.deriving = deriving;
    const run = async () => {
      const secret = await receiveSecret(ownKey(), box, info(from, self(), link), key).catch(() => undefined);
      inbound.deriving = undefined;
      if (!secret) return void (refused += deriving.waiting.length);
      const fresh: Receiving = { key, secret, number: -1 };
      for (const [sealed, deliver] of deriving.waiting) openFrom(inbound, fresh, sealed, deliver);
    };
    void run();
  };

  return {
    get refused() {
      return refused;
    },
    seal(to, link, payload) {
      const box = keyOf(to);
      if (box === undefined) return undefined;
      const name = nameOf(to, link);
      const known = sending.get(name);
      if (known instanceof Promise) return undefined;
      if (known?.to !== box) {
        makeKey(name, to, link, box);
        return undefined;
      }
      touch(sending, name, known);
      const number = known.number++;
      const cipher = createCipheriv('aes-256-gcm', known.secret, nonceOf(number));
      const bytes = Buffer.concat([cipher.update(payload), cipher.final(), cipher.getAuthTag()]);
      return { key: known.key, number, bytes };
    },
    open(from, link, sealed, deliver) {
      const box = keyOf(from);
      if (box === undefined) return void refused++;
      const name = nameOf(from, link);
      const inbound = receiving.get(name) ?? { current: [], retired: new Set(), deriving: undefined };
      touch(receiving, name, inbound);
      const current = inbound.current.find(({ key }) => key === sealed.key);
      if (current) return openFrom(inbound, current, sealed, deliver);
      if (inbound.retired.has(sealed.key)) return void refused++;
      if (!inbound.deriving) derive(inbound, from, link, sealed.key, box);
      if (inbound.deriving?.key !== sealed.key || inbound.deriving.waiting.length >= MAX_WAITING) return void refused++;
      // The bytes are the caller's until it returns.
      inbound.deriving.waiting.push([{ ...sealed, bytes: new Uint8Array(sealed.bytes) }, deliver]);
    },
    onReady: (handler) => void handlers.add(handler),
  };
}

/** Sets it again: the link that was silent for longest is forgotten first. A link that comes back gets a key of its own. */
function touch<V>(links: Map<string, V>, name: string, value: V): void {
  links.delete(name);
  links.set(name, value);
  for (const oldest of links.keys()) if (links.size > MAX_LINKS) links.delete(oldest);
}

function retire({ current, retired }: Inbound): void {
  const oldest = current.shift();
  if (oldest) retired.add(oldest.key);
  for (const key of retired) if (retired.size > MAX_RETIRED) retired.delete(key);
}

/** Undefined: changed, or not newer than the last. The server keeps the order, so what comes late was held back. */
function openRecord(from: Receiving, { number, bytes }: SealedFrames): Uint8Array | undefined {
  if (number <= from.number || bytes.length < TAG_BYTES) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', from.secret, nonceOf(number));
  decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
  try {
    const payload = Buffer.concat([decipher.update(bytes.subarray(0, bytes.length - TAG_BYTES)), decipher.final()]);
    from.number = number;
    return payload;
  } catch {
    return undefined;
  }
}

/** Each key is used in one direction and counts from zero, so that no nonce comes twice. */
function nonceOf(number: number): Uint8Array {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64BE(BigInt(number), 4);
  return nonce;
}
