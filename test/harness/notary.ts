/** A notary of a circle of friends in which nobody lies. */
import type { Notary } from '../../src/job/fabric.ts';

export const trustingNotary: Notary = { sign: () => new Uint8Array(64), verify: () => true };
