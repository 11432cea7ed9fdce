/** What a peer says about itself to the room: its keys, what it has to offer, and who stands for it. Signed. */
import { asciiJson } from '../base/ascii.ts';
import { parseJson, parser } from '../base/validate.ts';
import { parseCapacity, type Capacity } from '../protocol/capacity.ts';
import type { Device } from './device.ts';
import { KEY_PATTERN, signText, unverifiedText } from './signed.ts';

export interface Hello {
  readonly room: string;
  /** Full JID. */
  readonly jid: string;
  /** Public key of the device; it has signed this. */
  readonly device: string;
  /** Public half of the box key: what is sealed for it only this process can open. */
  readonly box: string;
  /** 128 random bits of this process: messages name it, so that none fits the next one. */
  readonly session: string;
  /** Counts with all messages of this session. */
  readonly counter: number;
  readonly capacity: Capacity;
  /** Certificate of membership, see membership.ts. */
  readonly certificate?: string;
  readonly vouch?: string;
  /** The newest list of bans that this peer knows. */
  readonly bans?: string;
}

/** The list of 200 bans and the rest. */
const MAX_HELLO_BYTES = 20_480;
const BOX_KEY = '^[A-Za-z0-9_-]{43}$';
const SESSION = '^[A-Za-z0-9_-]{22}$';

export const signHello = (device: Device, hello: Hello): string => signText(device, 'hello', asciiJson(hello));

const text = (maxLength: number) => ({ type: 'string', minLength: 1, maxLength });
const parseShape = parser<Hello>('hello', 'trust.hello', {
  type: 'object',
  additionalProperties: false,
  required: ['room', 'jid', 'device', 'box', 'session', 'counter', 'capacity'],
  properties: {
    room: text(1024),
    jid: text(1024),
    device: { type: 'string', pattern: KEY_PATTERN },
    box: { type: 'string', pattern: BOX_KEY },
    session: { type: 'string', pattern: SESSION },
    counter: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
    capacity: { type: 'object' },
    certificate: text(4096),
    vouch: text(1024),
    bans: text(14_336),
  },
});

/** Well formed; the signature is checked with all else, see checks.ts. */
export function readHello(signed: string): Hello {
  const hello = parseShape(parseJson('hello', 'trust.hello', unverifiedText(signed), MAX_HELLO_BYTES));
  return { ...hello, capacity: parseCapacity(hello.capacity) };
}
