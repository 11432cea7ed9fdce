/** Why a token of an invitation opens no door, in the one wording that server, host and guest share. */
import { createHash } from 'node:crypto';
import { KithError } from '../base/errors.ts';

export type TokenFault = 'unknown' | 'expired' | 'used-up' | 'revoked' | 'wrong-room';

/** The server's Lua module (xmpp/prosody/mod_kith_tokens.lua) says exactly the `message`, too. */
const FAULTS: Readonly<Record<TokenFault, { readonly message: string; readonly hint: string }>> = {
  unknown: {
    message: 'nobody here knows this invitation',
    hint: 'it is for another server, or from before your friend started kith host anew; ask for a new one',
  },
  expired: { message: 'this invitation has expired', hint: 'ask your friend for a new one' },
  'used-up': {
    message: 'this invitation was used as often as it may be',
    hint: 'if you did not use it yourself, tell your friend; then ask for a new one',
  },
  revoked: { message: 'this invitation was revoked', hint: 'ask your friend for a new one' },
  'wrong-room': { message: 'this invitation is for another room', hint: 'ask your friend for one for this room' },
};

/**
 * What the server hears of a token: enough to make an account, nothing to become a member with, for which the inviter wants the token
 * itself. Else whoever runs the server could enter the room in the place of each friend that it makes an account for.
 */
export const registrationToken = (token: string): string =>
  createHash('sha256').update(`kith:0 register\n${token}`).digest('base64url');

export const tokenError = (fault: TokenFault): KithError =>
  new KithError({ code: `invitation.${fault}`, ...FAULTS[fault], retry: 'never' });

/** By the server's words; what it says otherwise is an unknown token. */
export function tokenFaultOf(text: string | undefined): TokenFault {
  const faults = Object.keys(FAULTS) as TokenFault[];
  return faults.find((fault) => FAULTS[fault].message === text) ?? 'unknown';
}
