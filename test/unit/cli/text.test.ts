/** What people read: tables, bytes, durations, the page of kith ps. */
import { expect, test } from 'vitest';
import fc from 'fast-check';
import { formatBytes } from '../../../src/cli/bytes.ts';
import { completionScript } from '../../../src/cli/completion.ts';
import { formatDuration, statusText, linksText } from '../../../src/cli/status-text.ts';
import { table } from '../../../src/cli/table.ts';
import { commands } from '../../../src/cli/commands.ts';
import { guestStatus, peerStatus } from '../../harness/fake-peer.ts';

test('columns are as wide as their widest cell, colours count for nothing, nothing trails', () => {
  expect(
    table(
      ['a', 'bb'],
      [
        ['xxx', 'y'],
        ['\u001b[31mr\u001b[0m', 'z'],
      ],
    ),
  ).toBe('a    bb\nxxx  y\n\u001b[31mr\u001b[0m    z');
  expect(table(['a', 'b'], [])).toBe('a  b');
});

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [1536, '1.5 KiB'],
  [10_188, '9.9 KiB'],
  [10_189, '10 KiB'],
  [1_048_063, '1023 KiB'],
  [1_048_064, '1.0 MiB'],
  [20 * 2 ** 20, '20 MiB'],
  [3 * 2 ** 40, '3.0 TiB'],
])('%d bytes are %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

test('any number of bytes is short, and within five percent of the truth', () => {
  const unit: Record<string, number> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 49 }), (bytes) => {
      const text = formatBytes(bytes);
      const [value, name] = text.split(' ');
      expect(text.length).toBeLessThanOrEqual(8);
      expect(Math.abs(Number(value) * (unit[name ?? ''] ?? NaN) - bytes)).toBeLessThanOrEqual(bytes * 0.05);
    }),
  );
});

test('durations', () => {
  expect([0, 59.9, 60, 3600, 7500, 90_000].map(formatDuration)).toEqual([
    '0 s',
    '59 s',
    '1 min',
    '1 h 0 min',
    '2 h 5 min',
    '1 d 1 h',
  ]);
});

const status = peerStatus('run-1', 'initiator', {
  job: { id: 'j1', name: 'mesh', topology: 'mesh', revision: 2, state: 'running', subnet: '10.77.0.0/24' },
  guests: [
    guestStatus('master', { bootSeconds: 4.25, residentMiB: 180, accelerator: 'tcg' }),
    guestStatus('worker-1', { state: 'failed', peer: 'bob', reason: 'no memory' }),
  ],
  links: [
    {
      from: 'master',
      to: 'worker-1',
      wire: 'webrtc',
      reasons: {},
      roundTripMs: 1.26,
      loss: 0.05,
      sentBytes: 2048,
      receivedBytes: 10,
      sentPerSecond: 1024,
      receivedPerSecond: 0,
      drops: 3,
      seconds: 75,
    },
  ],
  occupants: [
    {
      nick: 'anna',
      jid: 'a@x/1',
      alive: true,
      trust: 'invited',
      because: 'it invited us into this room',
      role: 'initiator',
      cpus: 2,
      memoryMiB: 512,
      accelerator: 'tcg',
      confinement: ['namespaces', 'seccomp'],
      guests: 1,
      software: 'kith/0.1.0',
      accepts: true,
    },
    { nick: 'bob', jid: 'b@x/1', alive: false, trust: 'refused', because: 'a new key' },
  ],
});

test('kith ps shows peer, job, guests, links and the room', () => {
  expect(`\n${statusText(status)}`).toBe(`
run-1  initiator run-1@kith.internal/x in friends@rooms.kith.internal, kith/0.1.0, pid 4711, up 1 min, 90 MiB
job mesh  mesh, 10.77.0.0/24, running, revision 2, id j1

guest     role    mac                address    peer  state   boot s  memory   accel  reason
master    master  02:00:00:00:00:01  10.77.0.1  anna  up      4.3     180 MiB  tcg    -
worker-1  worker  02:00:00:00:00:01  10.77.0.1  bob   failed  -       -        -      no memory

link               wire    rtt ms  out      in    drops
master - worker-1  webrtc  1.3     2.0 KiB  10 B  3

in the room  role       alive  trust    cpus  memory   accel  confined            guests  accepts  because
anna         initiator  yes    invited  2     512 MiB  tcg    namespaces+seccomp  1       yes      it invited us into this room
bob          -          no     refused  -     -        -      -                   -       -        a new key
`);
  expect(statusText(peerStatus('idle'))).toMatch(/^idle .*\nno job\n\nin the room {2}role/);
});

test('kith ps --links shows what links do, why they are not better, and what switches drop', () => {
  const [link] = status.links;
  const reasons = {
    direct: 'no address of the peer could be reached: 192.0.2.1:4000 timed out (3 s ago); next try in 12 s',
  };
  const guests = [guestStatus('master', { drops: { storm: 4, 'wire-full': 12 } }), guestStatus('worker-1')];
  expect(`\n${linksText({ ...status, guests, links: [{ ...link!, reasons }] })}`).toBe(`
from    to        wire    for    rtt ms  loss  out/s    in/s  drops  why not better
master  worker-1  webrtc  1 min  1.3     5 %   1.0 KiB  0 B   3      direct: ${reasons.direct}

guest   its switch dropped
master  storm 4, wire-full 12
`);
  expect(statusText({ ...status, links: [{ ...link!, reasons }] })).toContain(
    'direct: no address of the peer could be reached: 192.0.2.1:…',
  );
  expect(linksText({ ...status, links: [] })).toBe('no links\n');
});

test('no name or reason from elsewhere steers the terminal', () => {
  const nasty = '\u001b]0;owned\u0007\u001b[2Jx\r\n\u202ey\u009b1m';
  const text = statusText(
    peerStatus('a', 'peer', {
      occupants: [{ nick: nasty, jid: 'x', alive: true, trust: 'first-sight', because: nasty }],
      guests: [guestStatus('g', { reason: nasty })],
    }),
  );
  // eslint-disable-next-line no-control-regex -- that is the point
  expect(text.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
  expect(text.split('\n')).toHaveLength(9);
});

test.each(['bash', 'zsh', 'fish'])('the completion of %s knows every command and option', (shell) => {
  const script = completionScript(shell, commands);
  for (const { name, options } of commands) {
    expect(script).toMatch(new RegExp(`\\b${name}\\b`));
    for (const option of Object.keys(options))
      expect(script).toContain(shell === 'fish' ? `-l ${option} ` : `--${option}`);
  }
});

test('a shell that we do not know is a usage error', () => {
  for (const shell of ['', 'tcsh', 'constructor']) {
    expect(() => completionScript(shell, commands)).toThrow(expect.objectContaining({ code: 'cli.usage' }) as Error);
  }
});
