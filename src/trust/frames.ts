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
  current: Receiving | undefined;
  /** Keys of earlier wires: what was sealed under them does not come back. */
  readonly retired: Set<string>;
  deriving: { readonly key: string; readonly waiting: [SealedFrames, (payload: Uint8Array) => void][] } | undefined;
}

const TAG_BYTES = 16;
/** Payloads that wait while their key is derived, which takes a millisecond. */
const MAX_WAITING = 32;
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
  const nameOf = (peer: string, link: string) => asciiJson([peer, link]);

  const makeKey = (name: string, to: string, link: string, box: string): void => {
    const making = shareSecret(ownKey(), box, info(self(), to, link)).then(
      ({ enc, secret }) => {
        sending.set(name, { to: box, key: enc, secret, number: 0 });
        for (const handler of handlers) handler();
      },
      () => void sending.delete(name), // a key that is no point of the curve: asked again with the next frame
    );
    sending.set(name, making);
  };

  /** One at a time for each link: a server that makes up keys costs us one derivation after the other, and no memory. */
  const derive = (inbound: Inbound, from: string, link: string, key: string, box: string): void => {
    const deriving = { key, waiting: [] as [SealedFrames, (payload: Uint8Array) => void][] };
    inbound.deriving = deriving;
    void receiveSecret(ownKey(), box, info(from, self(), link), key).then(
      (secret) => {
        inbound.deriving = undefined;
        const fresh: Receiving = { key, secret, number: -1 };
        for (const [sealed, deliver] of deriving.waiting) {
          const payload = openRecord(fresh, sealed);
          if (!payload) {
            refused++;
            continue;
          }
          if (inbound.current !== fresh) {
            // The first record that opens proves that the key is the peer's.
            if (inbound.current) inbound.retired.add(inbound.current.key);
            for (const oldest of inbound.retired)
              if (inbound.retired.size > MAX_RETIRED) inbound.retired.delete(oldest);
            inbound.current = fresh;
          }
          deliver(payload);
        }
      },
      () => {
        inbound.deriving = undefined;
        refused += deriving.waiting.length;
      },
    );
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
        if (!sending.has(name)) makeRoom(sending);
        makeKey(name, to, link, box);
        return undefined;
      }
      const number = known.number++;
      const cipher = createCipheriv('aes-256-gcm', known.secret, nonceOf(number));
      const bytes = Buffer.concat([cipher.update(payload), cipher.final(), cipher.getAuthTag()]);
      return { key: known.key, number, bytes };
    },
    open(from, link, sealed, deliver) {
      const box = keyOf(from);
      if (box === undefined) return void refused++;
      const name = nameOf(from, link);
      const inbound = receiving.get(name) ?? { current: undefined, retired: new Set(), deriving: undefined };
      if (!receiving.has(name)) makeRoom(receiving);
      receiving.set(name, inbound);
      if (inbound.current?.key === sealed.key) {
        const payload = openRecord(inbound.current, sealed);
        if (payload) deliver(payload);
        else refused++;
        return;
      }
      if (inbound.retired.has(sealed.key)) return void refused++;
      if (!inbound.deriving) derive(inbound, from, link, sealed.key, box);
      if (inbound.deriving?.key !== sealed.key || inbound.deriving.waiting.length >= MAX_WAITING) return void refused++;
      // The bytes are the caller's until it returns.
      inbound.deriving.waiting.push([{ ...sealed, bytes: new Uint8Array(sealed.bytes) }, deliver]);
    },
    onReady: (handler) => void handlers.add(handler),
  };
}

function makeRoom(links: Map<string, unknown>): void {
  for (const oldest of links.keys()) if (links.size >= MAX_LINKS) links.delete(oldest);
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
