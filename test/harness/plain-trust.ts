/** No trust at all, for tests of the rooms below it: what travels is in the open, and everybody is who he says. */
import { asciiJson } from '../../src/base/ascii.ts';
import { newId } from '../../src/base/ids.ts';
import { parseCapacity } from '../../src/protocol/capacity.ts';
import type { FrameCipher } from '../../src/xmpp/frames.ts';
import type { Seals } from '../../src/xmpp/mailbox.ts';
import type { Introductions } from '../../src/xmpp/room.ts';

interface Plain {
  readonly purpose: string;
  readonly text: string;
  readonly id: string;
}

function parsed(text: string): Partial<Plain> & { readonly kind?: string } {
  try {
    return JSON.parse(text) as Partial<Plain>;
  } catch {
    return {};
  }
}

export const plainSeals: Seals = {
  async seal(_, purpose, text) {
    const id = newId();
    return { signed: asciiJson({ purpose, text, id }), id };
  },
  /** What is no envelope of ours is taken as the message itself: tests type such things by hand. */
  async open(_, signed) {
    const value = parsed(signed);
    return typeof value.text === 'string' ? (value as Plain) : { purpose: value.kind ?? '', text: signed, id: newId() };
  },
};

export const plainIntroductions: Introductions = {
  hello: asciiJson,
  meet(_, __, text) {
    try {
      return { capacity: parseCapacity(JSON.parse(text)) };
    } catch {
      return undefined;
    }
  },
  leave() {},
};

export function plainCipher(): FrameCipher {
  let number = 0;
  return {
    refused: 0,
    seal: (_, __, payload) => ({ key: 'A'.repeat(43), number: number++, bytes: payload }),
    open: (_, __, sealed, deliver) => deliver(sealed.bytes),
    onReady() {},
  };
}
