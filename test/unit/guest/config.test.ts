/** What guests are told, and keys that real ssh programs understand. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { findProgram, runCommand } from '../../../src/base/process.ts';
import { encodeGuestConfig, type GuestConfig } from '../../../src/guest/config.ts';
import { generateSshKey } from '../../../src/guest/ssh-key.ts';

const config: GuestConfig = {
  role: 'worker',
  hostname: 'worker-1',
  mac: '52:54:00:00:00:02',
  address: '10.77.0.2',
  subnet: '10.77.0.0/24',
  mtu: 1400,
  slots: [{ name: 'master', mac: '52:54:00:00:00:01', address: '10.77.0.1' }],
  masterKey: `ssh-ed25519 ${'A'.repeat(68)} kith`,
};

describe('the configuration of a guest', () => {
  it('is one line per fact', () => {
    expect(encodeGuestConfig(config)).toBe(
      'role worker\nhostname worker-1\nmac 52:54:00:00:00:02\naddress 10.77.0.2\nsubnet 10.77.0.0/24\nmtu 1400\n' +
        `master-key ssh-ed25519 ${'A'.repeat(68)} kith\n`,
    );
  });

  it('carries the places of the LAN and the private key to the master only', () => {
    const slot = 'slot master 52:54:00:00:00:01 10.77.0.1\n';
    expect(encodeGuestConfig({ ...config, role: 'master' })).toBe(
      encodeGuestConfig(config).replace('role worker', 'role master') + slot,
    );
    expect(encodeGuestConfig(config)).not.toContain('slot');
    const masterPrivateKey = 'secret\nkey\n';
    expect(encodeGuestConfig({ ...config, masterPrivateKey })).not.toContain('private-key');
    expect(encodeGuestConfig({ ...config, role: 'master', masterPrivateKey })).toContain(
      `private-key ${Buffer.from(masterPrivateKey).toString('base64')}\n`,
    );
  });

  it.each([
    ['a line break in the key', { masterKey: `${config.masterKey}\nrole master` }],
    ['a command as a name', { hostname: '$(reboot)' }],
    ['a name with a space in a slot', { slots: [{ name: 'a b', mac: '52:54:00:00:00:01', address: '10.77.0.1' }] }],
    ['a multicast MAC', { mac: '53:54:00:00:00:01' }],
    ['an address with more behind it', { address: '10.77.0.2 dev lo' }],
    ['a subnet of another size', { subnet: '10.77.0.0/16' }],
    [
      'too many slots',
      { slots: Array.from({ length: 201 }, () => config.slots[0] as NonNullable<(typeof config.slots)[0]>) },
    ],
  ])('refuses %s', (_, change) => {
    expect(() => encodeGuestConfig({ ...config, ...change })).toThrow(
      expect.objectContaining({ code: 'guest.config' }) as Error,
    );
  });
});

describe('a new ssh key', () => {
  it('is a pair: what the private half signs, the public half verifies', async () => {
    const { publicKey, privateKey } = await generateSshKey();
    const body = Buffer.from(privateKey.split('\n').slice(1, -2).join(''), 'base64');
    const blob = Buffer.from(publicKey.split(' ')[1] ?? '', 'base64');
    const point = blob.subarray(-32);
    const at = body.indexOf(Buffer.concat([Buffer.from([0, 0, 0, 64])]));
    const seed = body.subarray(at + 4, at + 36);
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: point.toString('base64url') };
    const signature = sign(
      null,
      Buffer.from('text'),
      createPrivateKey({ key: { ...jwk, d: seed.toString('base64url') }, format: 'jwk' }),
    );
    expect(verify(null, Buffer.from('text'), createPublicKey({ key: jwk, format: 'jwk' }), signature)).toBe(true);
  });

  it('is read by ssh-keygen, where there is one', async ({ skip }) => {
    if (!findProgram('ssh-keygen')) skip('ssh-keygen is not installed');
    const folder = await mkdtemp(join(tmpdir(), 'kith-key-'));
    try {
      const key = await generateSshKey();
      await writeFile(join(folder, 'key'), key.privateKey, { mode: 0o600 });
      const { stdout } = await runCommand('ssh-keygen', ['-y', '-P', '', '-f', join(folder, 'key')], {
        timeoutMs: 10_000,
      });
      expect(stdout.trim()).toBe(key.publicKey);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('is another one each time', async () => {
    expect((await generateSshKey()).publicKey).not.toBe((await generateSshKey()).publicKey);
  });
});
