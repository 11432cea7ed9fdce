/** The errors of a circle. */
import { KithError } from '../base/errors.ts';

export const refused = (from: string, why: string) =>
  new KithError({ code: 'trust.refused', message: `a message of ${from} is refused: ${why}`, retry: 'never' });

export const unknown = (jid: string, refusal: string | undefined) =>
  new KithError({
    code: 'trust.unknown-peer',
    message: refusal === undefined ? `${jid} has not shown who it is` : `${jid} is refused: ${refusal}`,
    hint: refusal === undefined ? 'is it in the room?' : 'kith verify shows both keys and lets you approve a new one',
    retry: 'later',
  });
