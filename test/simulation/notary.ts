/** Signatures for simulations: a keyed hash, cheap, that still tells a forgery, another origin and another text. */
import { SIGNATURE_BYTES } from '../../src/net/note.ts';

/** FNV-1a with the node as its key. */
function hash(node: number, bytes: Uint8Array): number {
  let value = Math.imul(node ^ 0x811c_9dc5, 0x0100_0193);
  for (let i = 0; i < bytes.length; i++) value = Math.imul(value ^ bytes[i]!, 0x0100_0193);
  return value >>> 0;
}

export function fakeNotary() {
  return {
    sign: (node: number, bytes: Uint8Array): Uint8Array => {
      const signature = new Uint8Array(SIGNATURE_BYTES);
      new DataView(signature.buffer).setUint32(0, hash(node, bytes));
      return signature;
    },
    verify: (node: number, bytes: Uint8Array, signature: Uint8Array): boolean => {
      const view = new DataView(signature.buffer, signature.byteOffset, signature.length);
      return signature.length === SIGNATURE_BYTES && view.getUint32(0) === hash(node, bytes);
    },
  };
}
