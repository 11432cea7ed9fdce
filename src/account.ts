/** Which account a peer uses: the configured one, the one made before for this room, or a new one by invitation. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KithError } from './base/errors.ts';
import { shortId } from './base/ids.ts';
import type { Log } from './base/log.ts';
import type { Paths } from './base/paths.ts';
import { parseJson, parser } from './base/validate.ts';
import { decodeInvitation, encodeInvitation, type Invitation } from './protocol/invitation.ts';
import type { PeerOptions } from './peer.ts';
import { registerAccount } from './xmpp/register.ts';

export type Access = Pick<PeerOptions, 'server' | 'account' | 'room'>;

interface SavedAccount {
  readonly invitation: Invitation;
  readonly username: string;
  readonly password: string;
}

const text = { type: 'string', minLength: 1, maxLength: 1024 };
const parseSaved = parser<SavedAccount>('account file', 'account.file', {
  type: 'object',
  additionalProperties: false,
  required: ['invitation', 'username', 'password'],
  properties: { invitation: { type: 'object' }, username: text, password: text },
});

/** The account made for an invitation is kept, so that a peer that starts again is the same member of the room. */
export async function accessByInvitation(
  line: string,
  options: { readonly profile: string; readonly paths: Paths; readonly log: Log; readonly signal: AbortSignal },
): Promise<Access> {
  const invitation = decodeInvitation(line);
  const folder = join(options.paths.state, options.profile);
  const file = join(folder, 'account.json');
  const saved = await readSaved(file);
  if (saved && isFor(saved, invitation)) return accessOf(invitation, saved);
  const account = { username: `${options.profile}-${shortId()}`, password: randomBytes(24).toString('base64url') };
  const { host, port, domain, fingerprint, token } = invitation;
  await registerAccount({ host, port, domain, fingerprint, token, ...account, signal: options.signal });
  options.log.info('account made', { peer: `${account.username}@${domain}` });
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const draft = `${file}.${process.pid}`;
  await writeFile(draft, `${JSON.stringify({ invitation, ...account } satisfies SavedAccount)}\n`, { mode: 0o600 });
  await chmod(draft, 0o600);
  await rename(draft, file);
  return accessOf(invitation, account);
}

/**
 * What `accessByInvitation` would use, without making anything: the account of the first of these profiles that has one for this
 * server (for any, without an invitation). Undefined account: there is none yet. Undefined: nobody here was ever invited.
 */
export async function readAccess(options: {
  readonly line: string | undefined;
  readonly profiles: readonly string[];
  readonly paths: Paths;
}): Promise<(Pick<Access, 'server' | 'room'> & { readonly account: Access['account'] | undefined }) | undefined> {
  const { line, profiles, paths } = options;
  const invitation = line === undefined ? undefined : decodeInvitation(line);
  for (const profile of profiles) {
    const saved = await readSaved(join(paths.state, profile, 'account.json'));
    if (saved && (!invitation || isFor(saved, invitation)))
      return accessOf(invitation ?? decodeInvitation(encodeInvitation(saved.invitation)), saved);
  }
  return invitation && { ...accessOf(invitation, { username: '', password: '' }), account: undefined };
}

const isFor = (saved: SavedAccount, invitation: Invitation): boolean =>
  saved.invitation.fingerprint === invitation.fingerprint && saved.invitation.domain === invitation.domain;

function accessOf(invitation: Invitation, account: Access['account']): Access {
  const { host, port, domain, fingerprint, bytesPerSecond, room } = invitation;
  return {
    server: { host, port, domain, fingerprint, bytesPerSecond },
    account: { username: account.username, password: account.password },
    room,
  };
}

async function readSaved(file: string): Promise<SavedAccount | undefined> {
  let body: string;
  try {
    body = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new KithError({
      code: 'account.file',
      message: `cannot read ${file}`,
      hint: 'make it readable or remove it',
      cause: error,
    });
  }
  return parseSaved(parseJson('account file', 'account.file', body, 16_384));
}
