/** The five that people use today, each set up as its manual says, with keys made for this run. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Overlay, Place } from './overlay.ts';
import { SIDES, UNDERLAY, until, type Running, type Side } from './site.ts';

const other = (side: Side): Side => (side === 'a' ? 'b' : 'a');

function write(path: string, lines: readonly string[], mode = 0o600): string {
  writeFileSync(path, `${lines.join('\n')}\n`, { mode });
  return path;
}

const both = (start: (side: Side) => Running): Running[] => SIDES.map(start);

/** Its defaults: switch mode needs saying; AES-256-CBC and SHA-256 are what 1.0.36 uses. */
async function tinc({ site, folder, device, port }: Place) {
  for (const side of SIDES) {
    const home = join(folder, side);
    mkdirSync(join(home, 'hosts'), { recursive: true });
    const dial = side === 'a' ? ['ConnectTo = b'] : [];
    write(join(home, 'tinc.conf'), [
      `Name = ${side}`,
      'Mode = switch',
      'DeviceType = tap',
      `Interface = ${device}`,
      `BindToAddress = ${UNDERLAY[side]} ${port}`,
      ...dial,
    ]);
    await site.run(side, ['openssl', 'genrsa', '-traditional', '-out', join(home, 'rsa_key.priv'), '2048']);
    const key = await site.run(side, ['openssl', 'rsa', '-in', join(home, 'rsa_key.priv'), '-RSAPublicKey_out']);
    const pem = /-----BEGIN[\s\S]*-----END RSA PUBLIC KEY-----/.exec(key)?.[0] ?? '';
    for (const reader of SIDES) {
      mkdirSync(join(folder, reader, 'hosts'), { recursive: true });
      write(join(folder, reader, 'hosts', side), [`Address = ${UNDERLAY[side]} ${port}`, `Port = ${port}`, pem]);
    }
  }
  const start = (side: Side) =>
    site.start(side, ['tincd', '-c', join(folder, side), '-D', `--pidfile=${join(folder, `${side}.pid`)}`]);
  return { running: both(start) };
}

/** TLS between two, because AEAD ciphers refuse static keys; fingerprints in place of an authority. */
async function openvpn({ site, folder, device, port, mtu }: Place) {
  const prints: Record<string, string> = {};
  for (const side of SIDES) {
    const [key, certificate] = [join(folder, `${side}.key`), join(folder, `${side}.crt`)];
    await site.run(side, [
      'openssl',
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
      '-subj',
      `/CN=${side}`,
      '-keyout',
      key,
      '-out',
      certificate,
    ]);
    const said = await site.run(side, ['openssl', 'x509', '-in', certificate, '-noout', '-fingerprint', '-sha256']);
    prints[side] = /=([0-9A-F:]+)/.exec(said)?.[1] ?? '';
  }
  const start = (side: Side) => {
    const role = side === 'a' ? ['--tls-client'] : ['--tls-server', '--dh', 'none'];
    return site.start(side, [
      'openvpn',
      '--dev',
      device,
      '--dev-type',
      'tap',
      '--proto',
      'udp',
      '--port',
      String(port),
      '--local',
      UNDERLAY[side],
      '--remote',
      UNDERLAY[other(side)],
      '--tun-mtu',
      String(mtu),
      '--data-ciphers',
      'AES-128-GCM',
      '--cipher',
      'AES-128-GCM',
      '--persist-tun',
      '--verb',
      '3',
      ...role,
      '--key',
      join(folder, `${side}.key`),
      '--cert',
      join(folder, `${side}.crt`),
      '--peer-fingerprint',
      prints[other(side)] ?? '',
    ]);
  };
  return { running: both(start) };
}

/** Version 1 (Debian's): Twofish, a community with its supernode, which introduces the two and carries nothing. */
async function n2n({ site, device, port, mtu, address }: Place) {
  const supernode = site.start('b', ['supernode', '-l', String(port)]);
  const start = (side: Side) =>
    site.start(side, [
      'edge',
      '-d',
      device,
      '-a',
      address[side],
      '-s',
      '255.255.255.0',
      '-c',
      'kith-bench',
      '-k',
      'a key of this run',
      '-l',
      `${UNDERLAY.b}:${port}`,
      '-p',
      String(port + 1),
      '-M',
      String(mtu),
    ]);
  return { running: [supernode, ...both(start)] };
}

async function fastd({ site, folder, device, port, mtu }: Place) {
  const keys: Record<string, { readonly secret: string; readonly key: string }> = {};
  for (const side of SIDES) {
    const said = await site.run(side, ['fastd', '--generate-key']);
    const [, secret = ''] = /Secret: ([0-9a-f]+)/.exec(said) ?? [];
    const [, key = ''] = /Public: ([0-9a-f]+)/.exec(said) ?? [];
    keys[side] = { secret, key };
  }
  const start = (side: Side) => {
    const peer = other(side);
    // One dials: when both do at once, it can happen that each keeps another session than the other (seen in one of three starts).
    const dial = side === 'a' ? `remote ${UNDERLAY[peer]}:${port};` : '';
    const config = write(join(folder, `${side}.conf`), [
      'log level info;',
      'mode tap;',
      `interface "${device}";`,
      `mtu ${mtu};`,
      'method "salsa2012+umac";',
      `bind ${UNDERLAY[side]}:${port};`,
      `secret "${keys[side]?.secret}";`,
      `peer "${peer}" { key "${keys[peer]?.key}"; ${dial} }`,
    ]);
    return site.start(side, ['fastd', '--config', config]);
  };
  const answering = start('b');
  await until(() => answering.said().includes('bound to'), answering);
  return { running: [answering, start('a')] };
}

/** What the thesis did: a switch on each side, joined through ssh. */
async function vdeSsh({ site, folder, device, port }: Place) {
  for (const name of ['host', 'user']) {
    await site.run('b', ['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
  }
  mkdirSync('/run/sshd', { recursive: true, mode: 0o755 }); // sshd's own empty folder; its package makes it at boot
  const config = write(join(folder, 'sshd_config'), [
    `ListenAddress ${UNDERLAY.b}:${port}`,
    `HostKey ${join(folder, 'host')}`,
    `AuthorizedKeysFile ${join(folder, 'user.pub')}`,
    'StrictModes no',
    'UsePAM no',
    'PidFile none',
    'PermitRootLogin prohibit-password',
    'PasswordAuthentication no',
  ]);
  const switches = both((side) =>
    site.start(side, ['vde_switch', '-s', join(folder, side), '-t', device, '-M', join(folder, `${side}.mgmt`)], {
      stdin: true,
    }),
  );
  const sshd = site.start('b', ['/usr/sbin/sshd', '-D', '-e', '-f', config]);
  const ssh = [
    'ssh',
    '-p',
    String(port),
    '-i',
    join(folder, 'user'),
    '-o',
    'StrictHostKeyChecking=no',
    '-o',
    `UserKnownHostsFile=${join(folder, 'known')}`,
    '-o',
    'LogLevel=ERROR',
    '-o',
    'ConnectionAttempts=50',
    `root@${UNDERLAY.b}`,
  ];
  // As a script: vde_plug takes options of the command that it runs for its own.
  const dial = write(
    join(folder, 'dial'),
    ['#!/bin/sh', `exec ${ssh.join(' ')} vde_plug vde://${join(folder, 'b')}`],
    0o700,
  );
  const plug = site.start('a', ['vde_plug', `vde://${join(folder, 'a')}`, '=', dial]);
  return { running: [...switches, sshd, plug] };
}

const peer = (name: string, mtu: number, open: Overlay['open']): Overlay => ({ name, mtu, kind: 'peer', open });

export const PEER_OVERLAYS: readonly Overlay[] = [
  peer('tinc', 1500, tinc),
  peer('openvpn', 1500, openvpn),
  peer('openvpn', 9000, openvpn),
  peer('n2n', 1400, n2n),
  peer('n2n', 1500, n2n),
  peer('fastd', 1400, fastd),
  peer('fastd', 1500, fastd),
  peer('fastd', 9000, fastd),
  peer('vde-ssh', 1500, vdeSsh),
];
