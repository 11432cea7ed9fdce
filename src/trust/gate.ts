/** Which tokens an inviter gave out and which devices came in by them: a ledger, pure, with the time handed in. */
import { createHash } from 'node:crypto';
import { KithError } from '../base/errors.ts';
import { parser } from '../base/validate.ts';
import { tokenError, type TokenFault } from '../protocol/tokens.ts';
import { KEY_PATTERN } from './signed.ts';

export interface Grant {
  readonly token: string;
  /** Bare JID. */
  readonly room: string;
  /** Milliseconds since 1970. */
  readonly issued: number;
  readonly expires: number;
  /** How many devices it lets in. */
  readonly uses: number;
  readonly revoked: boolean;
  /** Keys of those that it let in, in order. */
  readonly devices: readonly string[];
}

export interface Gate {
  readonly grants: readonly Grant[];
  /** Throws `invitation.too-many`. */
  issue(grant: Pick<Grant, 'token' | 'room' | 'expires' | 'uses'>, now: number): void;
  /**
   * Lets a device in, or throws `invitation.unknown`, `.wrong-room`, `.revoked`, `.expired`, `.used-up`. A device that the token has
   * let in before passes again, whatever became of the token: how a member is thrown out is a ban.
   */
  admit(who: { readonly token: string; readonly room: string; readonly device: string }, now: number): void;
  /** Nobody new gets in by it. By token or id; undefined: there is none. */
  revoke(which: string): Grant | undefined;
}

/** What a person calls a token by; it gives nothing of it away. */
export const tokenId = (token: string): string => createHash('sha256').update(token).digest('hex').slice(0, 8);

/** One more than anybody hands out in the life of a room; it bounds the file. */
const MAX_GRANTS = 2000;

export function openGate(grants: readonly Grant[] = []): Gate {
  const byToken = new Map(grants.map((grant) => [grant.token, grant]));

  const fault = (grant: Grant | undefined, room: string, now: number): TokenFault | undefined => {
    if (!grant) return 'unknown';
    if (grant.room !== room) return 'wrong-room';
    if (grant.revoked) return 'revoked';
    if (grant.expires <= now) return 'expired';
    return grant.devices.length >= grant.uses ? 'used-up' : undefined;
  };

  return {
    get grants() {
      return [...byToken.values()];
    },
    issue(grant, now) {
      if (byToken.has(grant.token)) throw new TypeError('this token was given out before');
      if (byToken.size >= MAX_GRANTS) forget(byToken, now);
      byToken.set(grant.token, { ...grant, issued: now, revoked: false, devices: [] });
    },
    admit({ token, room, device }, now) {
      const grant = byToken.get(token);
      if (grant?.room === room && grant.devices.includes(device)) return;
      const why = fault(grant, room, now);
      if (why !== undefined || !grant) throw tokenError(why ?? 'unknown');
      byToken.set(token, { ...grant, devices: [...grant.devices, device] });
    },
    revoke(which) {
      const found = byToken.get(which) ?? [...byToken.values()].find(({ token }) => tokenId(token) === which);
      if (!found) return undefined;
      const revoked = { ...found, revoked: true };
      byToken.set(found.token, revoked);
      return revoked;
    },
  };
}

/** Room for one more: the oldest that nobody used and nobody can use any more. */
function forget(byToken: Map<string, Grant>, now: number): void {
  for (const [token, { devices, revoked, expires }] of byToken)
    if (devices.length === 0 && (revoked || expires <= now)) return void byToken.delete(token);
  throw new KithError({
    code: 'invitation.too-many',
    message: `${MAX_GRANTS} invitations are out already`,
    hint: 'revoke some that nobody has used: kith invite --list',
  });
}

const count = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER };

/** What was written down of a ledger. */
export const parseGrants = parser<readonly Grant[]>('list of invitations', 'invitation.file', {
  type: 'array',
  maxItems: MAX_GRANTS,
  items: {
    type: 'object',
    additionalProperties: false,
    required: ['token', 'room', 'issued', 'expires', 'uses', 'revoked', 'devices'],
    properties: {
      token: { type: 'string', pattern: '^[A-Za-z0-9_-]{8,64}$' },
      room: { type: 'string', minLength: 3, maxLength: 1024 },
      issued: count,
      expires: count,
      uses: { type: 'integer', minimum: 1, maximum: 1_000_000 },
      revoked: { type: 'boolean' },
      devices: { type: 'array', items: { type: 'string', pattern: KEY_PATTERN } },
    },
  },
});
