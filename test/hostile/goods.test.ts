/** What comes in from outside before there is any trust: invitations that were changed or used up, images that are not what was promised. */
import { createZstdCompress } from 'node:zlib';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { KithError } from '../../src/base/errors.ts';
import { canonicalJson, imageBytes, manifestHash, type Manifest } from '../../src/image/manifest.ts';
import { importImage } from '../../src/image/transfer.ts';
import { openGate, type Gate } from '../../src/trust/gate.ts';
import { decodeInvitation, encodeInvitation } from '../../src/trust/invitation.ts';
import { openHome } from '../harness/evil-friends.ts';
import { attacks, type Attack, type Outcome } from '../harness/evil-rows.ts';
import { strangeDevice } from '../harness/evil-words.ts';
import { openTestStore, tinyImage } from '../harness/tiny-image.ts';

const DAY = 86_400_000;
const ROOM = 'friends@rooms.kith.internal';

const codeOf = async (attempt: () => unknown): Promise<Outcome> => {
  try {
    await attempt();
    return 'succeeded';
  } catch (error) {
    return `refused: ${error instanceof KithError ? error.code : String(error)}`;
  }
};

const invitation = (more: { readonly host?: string; readonly expires?: number } = {}): string =>
  encodeInvitation(strangeDevice(), {
    host: '192.0.2.1',
    port: 5223,
    domain: 'kith.internal',
    fingerprint: Array.from({ length: 32 }, () => 'AB').join(':'),
    room: ROOM,
    token: 'token-of-16-bytes',
    bytesPerSecond: 1_000_000,
    nick: 'anna',
    expires: Date.now() + DAY,
    uses: 1,
    ...more,
  });

/** The same link with this text of it changed. */
const changed = (link: string, from: string, to: string): string =>
  `kith:${Buffer.from(Buffer.from(link.slice(5), 'base64url').toString().replace(from, to)).toString('base64url')}`;

/** A device comes with a token to the gate of an inviter. */
const entering =
  (before: (gate: Gate) => void, room = ROOM, later = 0) =>
  (): Promise<Outcome> => {
    const gate = openGate();
    const now = Date.now();
    gate.issue({ token: 'token-of-16-bytes', room: ROOM, expires: now + DAY, uses: 1 }, now);
    before(gate);
    const device = strangeDevice().key;
    return codeOf(() => gate.admit({ token: 'token-of-16-bytes', room, device }, now + later));
  };

/** An image as a hostile peer sends it: this manifest, these files. */
async function* stream(manifest: Manifest, files: readonly Buffer[]): AsyncGenerator<Uint8Array> {
  const text = Buffer.from(canonicalJson(manifest));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  const packer = createZstdCompress();
  const parts: Buffer[] = [];
  packer.on('data', (part: Buffer) => parts.push(part));
  packer.end(Buffer.concat([Buffer.from('KITHIMG1'), length, text, ...files]));
  await once(packer, 'end');
  yield Buffer.concat(parts);
}

const KERNEL = Buffer.alloc(5000, 1);
const INITRD = Buffer.from('initrd');

const importing = (send: (manifest: Manifest) => AsyncIterable<Uint8Array>) => async (): Promise<Outcome> => {
  await using home = await openHome();
  await using mine = await openTestStore();
  const folder = join(home.path, 'image');
  await mkdir(folder);
  const manifest = await tinyImage(folder, KERNEL, INITRD);
  const ref = { name: 'tiny', hash: manifestHash(manifest), bytes: imageBytes(manifest) };
  return await codeOf(() => importImage(mine.store, ref, send(manifest), { maxBytes: 1_000_000 }));
};

const rows: readonly Attack<undefined>[] = [
  {
    name: 'invitation that was changed on its way to lead to another server',
    guard: 'invitation: signed by the inviter',
    off: ['invitation.signature'],
    attack: () => codeOf(() => decodeInvitation(changed(invitation(), '192.0.2.1', '203.0.113.9'), Date.now())),
  },
  {
    name: 'invitation in a second spelling',
    guard: 'invitation: one canonical form',
    off: ['invitation.form'],
    attack: () => codeOf(() => decodeInvitation(`${invitation()}=`, Date.now())),
  },
  {
    name: 'invitation from last week',
    guard: 'invitation: expires',
    off: ['invitation.expires'],
    attack: () => codeOf(() => decodeInvitation(invitation({ expires: Date.now() - DAY }), Date.now())),
  },
  {
    name: 'token that somebody used before',
    guard: 'gate: as many devices as were invited',
    off: ['gate.uses'],
    attack: entering((gate) =>
      gate.admit({ token: 'token-of-16-bytes', room: ROOM, device: strangeDevice().key }, Date.now()),
    ),
  },
  {
    name: 'token that was taken back',
    guard: 'gate: not revoked',
    off: ['gate.revoked'],
    attack: entering((gate) => void gate.revoke('token-of-16-bytes')),
  },
  {
    name: 'token of another room',
    guard: 'gate: for one room',
    off: ['gate.room'],
    attack: entering(() => {}, 'other@rooms.kith.internal'),
  },
  {
    name: 'token after its day',
    guard: 'gate: expires',
    off: ['gate.expires'],
    attack: entering(() => {}, ROOM, 2 * DAY),
  },
  {
    name: 'peer delivers another image than the one that was leased',
    guard: 'image: the manifest has the promised hash',
    off: ['image.manifest'],
    attack: importing((manifest) => stream({ ...manifest, commandLine: 'console=ttyS0 init=/evil' }, [KERNEL, INITRD])),
  },
  {
    name: 'peer delivers the promised manifest with another kernel',
    guard: 'image: each file has the hash of its manifest, twice',
    off: ['image.file', 'store.file'],
    attack: importing((manifest) => stream(manifest, [Buffer.alloc(KERNEL.length, 2), INITRD])),
  },
  {
    name: 'peer hides more behind the last file of an image',
    guard: 'image: nothing behind its last file',
    off: ['image.end'],
    attack: importing((manifest) => stream(manifest, [KERNEL, INITRD, Buffer.alloc(100)])),
  },
];

attacks(rows, () => undefined);
