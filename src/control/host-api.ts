/** What a running `kith host` answers to its owner's own programs: types and the schemas of its parameters. */
import { parser, type Parse } from '../base/validate.ts';
import type { PeerStatus } from './api.ts';

export interface InvitationStatus {
  /** What `kith revoke` takes. */
  readonly id: string;
  /** ISO dates. */
  readonly issued: string;
  readonly expires: string;
  readonly uses: number;
  readonly revoked: boolean;
  /** Who came in by it: nick, or fingerprint of one that we do not know any more. */
  readonly usedBy: readonly string[];
}

export interface IssuedInvitation {
  readonly id: string;
  readonly link: string;
  readonly expires: string;
  readonly uses: number;
}

export interface Banned {
  readonly nick: string;
  readonly account: string;
  readonly fingerprint: string;
}

export interface HostApi {
  status(): Promise<PeerStatus>;
  invite(params: {
    readonly seconds: number;
    readonly uses: number;
    readonly nick?: string;
  }): Promise<IssuedInvitation>;
  invitations(): Promise<{ readonly invitations: readonly InvitationStatus[] }>;
  /** By id or link. */
  revoke(params: { readonly which: string }): Promise<{ readonly id: string }>;
  /** By nick, account, fingerprint or key. */
  ban(params: { readonly who: string }): Promise<{
    readonly banned: readonly Banned[];
    readonly epoch: number;
    /** Invitations that let them in, and nobody any more. */
    readonly revoked: readonly string[];
  }>;
  unban(params: { readonly who: string }): Promise<{ readonly unbanned: readonly Banned[]; readonly epoch: number }>;
  /** Contacts were changed by another program; `forget`: keys that it has taken out. */
  reconsider(params: { readonly forget: readonly string[] }): Promise<Record<string, never>>;
  down(): Promise<Record<string, never>>;
}

export type HostMethod = keyof HostApi;

const record = (properties: Record<string, unknown> = {}, optional: Record<string, unknown> = {}) => ({
  type: 'object',
  additionalProperties: false,
  required: Object.keys(properties),
  properties: { ...properties, ...optional },
});
const text = (maxLength: number) => ({ type: 'string', minLength: 1, maxLength });

/** An invitation that lives for more than a year is a password. */
export const MAX_INVITATION_SECONDS = 366 * 86_400;
export const MAX_USES = 1000;

export const parseHostParams: Readonly<Record<HostMethod, Parse<unknown>>> = {
  status: parser('status', 'control.params', record()),
  invite: parser(
    'invite',
    'control.params',
    record(
      {
        seconds: { type: 'integer', minimum: 1, maximum: MAX_INVITATION_SECONDS },
        uses: { type: 'integer', minimum: 1, maximum: MAX_USES },
      },
      { nick: text(64) },
    ),
  ),
  invitations: parser('invitations', 'control.params', record()),
  revoke: parser('revoke', 'control.params', record({ which: text(4096) })),
  ban: parser('ban', 'control.params', record({ who: text(1024) })),
  unban: parser('unban', 'control.params', record({ who: text(1024) })),
  reconsider: parser(
    'reconsider',
    'control.params',
    record({ forget: { type: 'array', maxItems: 100, items: text(64) } }),
  ),
  down: parser('down', 'control.params', record()),
};
