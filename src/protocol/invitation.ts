/** An invitation: everything a friend needs to reach the room, as one line of text that is passed on like a password. */
import { KithError } from '../base/errors.ts';
import { parseJson, parser } from '../base/validate.ts';

export interface Invitation {
  readonly version: 1;
  /** Where to connect by direct TLS (XEP-0368). */
  readonly host: string;
  readonly port: number;
  /** XMPP domain of accounts on that server. */
  readonly domain: string;
  /** SHA-256 of the server's certificate, `AB:CD:…` as Node's `fingerprint256`. */
  readonly fingerprint: string;
  /** Room, bare JID. */
  readonly room: string;
  /** Preauth token (XEP-0445) that lets in-band registration (XEP-0077) create an account. */
  readonly token: string;
  /** The server's limit per connection in bytes per second; peers pace themselves below it. */
  readonly bytesPerSecond: number;
}

const PREFIX = 'kith:';
const MAX_BYTES = 4096;

const parseBody = parser<Invitation>('invitation', 'protocol.invitation', {
  type: 'object',
  additionalProperties: false,
  required: ['version', 'host', 'port', 'domain', 'fingerprint', 'room', 'token', 'bytesPerSecond'],
  properties: {
    version: { const: 1 },
    host: { type: 'string', minLength: 1, maxLength: 255 },
    port: { type: 'integer', minimum: 1, maximum: 65_535 },
    domain: { type: 'string', minLength: 1, maxLength: 255 },
    fingerprint: { type: 'string', pattern: '^([0-9A-F]{2}:){31}[0-9A-F]{2}$' },
    room: { type: 'string', minLength: 3, maxLength: 512 },
    token: { type: 'string', minLength: 8, maxLength: 128 },
    bytesPerSecond: { type: 'integer', minimum: 1000, maximum: 1e9 },
  },
});

export function encodeInvitation(invitation: Invitation): string {
  return PREFIX + Buffer.from(JSON.stringify(invitation)).toString('base64url');
}

export function decodeInvitation(line: string): Invitation {
  const text = line.trim();
  if (!text.startsWith(PREFIX) || text.length > MAX_BYTES) {
    throw new KithError({
      code: 'protocol.invitation',
      message: 'this is not a Kith invitation',
      hint: 'ask your friend for the whole line that starts with kith:',
    });
  }
  return parseBody(
    parseJson(
      'invitation',
      'protocol.invitation',
      Buffer.from(text.slice(PREFIX.length), 'base64url').toString('utf8'),
      MAX_BYTES,
    ),
  );
}
