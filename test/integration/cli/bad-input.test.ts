/** What bad input gets: a code, a message that names the thing, a next step, and a room that goes on as if nothing were. */
import { createServer } from 'node:net';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { findProgram } from '../../../src/base/process.ts';
import { kithPaths } from '../../../src/base/paths.ts';
import type { PeerStatus } from '../../../src/control/api.ts';
import { microImage } from '../../harness/guest.ts';
import {
  JOBS,
  lastJson,
  openWorld,
  poll,
  processesOf,
  type Ended,
  type KithProcess,
  type World,
} from '../../harness/kith.ts';

let world: World;
let friend: KithProcess;
let server: Record<string, unknown>;

beforeAll(async () => {
  await microImage(); // so that no test here is the one that builds it
  world = await openWorld();
  server = await (await world.host()).ready;
  // Too small for any guest: nobody's lease, everybody's witness.
  friend = await world.worker('friend', '--memory', '64');
}, 300_000);

afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
});

/** Whatever happened: the friend is the same process in the same room and has noticed nothing, and no guest is left. */
afterEach(async () => {
  const { peer, guests } = await statusOf('friend');
  const qemus = processesOf(world.folder).filter((line) => line.includes('qemu-system-'));
  if (peer.pid !== friend.pid || guests.length > 0 || qemus.length > 0)
    throw new Error(`the room was disturbed: ${JSON.stringify({ peer, guests, qemus })}`);
});

/** The one account of this home in the room, as it is kept. */
function account(): string {
  const folder = join(world.folder, 'state', 'kith', 'rooms');
  const kept = readdirSync(folder).filter((name) => /^[0-9a-f]{16}\.json$/.test(name));
  expect(kept).toHaveLength(1);
  return readFileSync(join(folder, kept[0] ?? ''), 'utf8');
}

const statusOf = async (name: string) =>
  lastJson(await world.run(['ps', '--json', '--peer', name])) as unknown as PeerStatus;

/** The one line of JSON of a command that failed, and its exit code. */
function failureOf(ended: Ended): {
  readonly exit: number | undefined;
  readonly code: string;
  readonly says: string;
  readonly next: string;
} {
  expect(ended.stdout.trimEnd().split('\n')).toHaveLength(1);
  const { ok, error } = lastJson(ended) as { ok: boolean; error: { code: string; message: string; hint?: string } };
  expect(ok).toBe(false);
  return { exit: ended.code, code: error.code, says: error.message, next: error.hint ?? '' };
}

/** Starts something that must fail. */
const failing = async (...args: readonly string[]) => failureOf(await world.run([...args, '--json']));

const write = (name: string, text: string, mode = 0o600) => {
  const path = join(world.folder, name);
  writeFileSync(path, text, { mode });
  chmodSync(path, mode);
  return path;
};

describe('at the door of the room', () => {
  const byAccount = (password: string, fingerprint = server['fingerprint']) => {
    const { host, port, room } = server;
    const where = `--host ${String(host)} --port ${String(port)} --fingerprint ${String(fingerprint)} --room ${String(room)}`;
    const who = `--name guest --jid nobody@kith.internal --password-file ${write('password', `${password}\n`)}`;
    return `${who} ${where}`.split(' ');
  };

  it('a wrong password', async () => {
    const failure = await failing('worker', ...byAccount('not it'));
    expect(failure).toMatchObject({ exit: 77, code: 'xmpp.auth-failed' });
    expect(failure.says).toContain('nobody');
    expect(failure.next).toContain('password');
  });

  it('a room that nobody has made', async () => {
    const failure = await failing('worker', ...world.as('guest'), '--room', 'nowhere@rooms.kith.internal');
    expect(failure).toMatchObject({ exit: 69, code: 'xmpp.unknown-room' });
    expect(failure.says).toContain('nowhere@rooms.kith.internal');
    expect(failure.next).not.toBe('');
  });

  it('a room that nobody has made is made by an account that says so, and by no other', async () => {
    const saved = account();
    const { username, password } = JSON.parse(saved) as Record<string, string>;
    const script = write('job.ts', `export default { name: 'x', topology: 'star', worker: { min: 0 } };`);
    const words = [
      ...byAccount(String(password)),
      '--jid',
      `${username}@kith.internal`,
      '--room',
      'typo@rooms.kith.internal',
    ];
    const failure = await failing('run', script, '--dry-run', ...words);
    expect(failure).toMatchObject({ exit: 69, code: 'xmpp.unknown-room' });
    expect(failure.next).toContain('--create-room');
    expect((await world.run(['run', script, '--dry-run', ...words, '--create-room'])).code).toBe(0);
    const invited = await failing(
      'run',
      script,
      ...world.as('guest'),
      '--room',
      'nowhere@rooms.kith.internal',
      '--create-room',
    );
    expect(invited).toMatchObject({ exit: 69, code: 'xmpp.unknown-room' });
  });

  it('a room service that does not exist', async () => {
    const failure = await failing('worker', ...world.as('guest'), '--room', 'friends@elsewhere.invalid');
    expect(failure).toMatchObject({ exit: 69, code: 'xmpp.no-such-room' });
    expect(failure.says).toContain('elsewhere.invalid');
  });

  it('a server with another certificate', async () => {
    const another = Array.from({ length: 32 }, () => 'AB').join(':');
    const failure = await failing('worker', ...byAccount('any', another));
    expect(failure).toMatchObject({ exit: 77, code: 'xmpp.certificate' });
    expect(failure.next).not.toBe('');
  });

  it('a nickname that is taken gets a suffix', async () => {
    const second = await world.worker('second', '--nick', 'friend');
    expect(await second.ready).toMatchObject({ nick: 'friend-2' });
    expect((await second.stop()).code).toBe(0);
  });

  it('a name that a running peer has', async () => {
    const failure = await failing('worker', ...world.as('friend'));
    expect(failure).toMatchObject({ exit: 1, code: 'control.name-taken' });
    expect(failure.says).toContain('friend');
    expect(failure.next).toContain('--name');
  });

  it('a server that is gone', async () => {
    await using elsewhere = await openWorld();
    const host = await elsewhere.host();
    await host.stop();
    const failure = failureOf(await elsewhere.run(['worker', ...elsewhere.as('guest'), '--json']));
    expect(failure).toMatchObject({ exit: 69, code: 'xmpp.unreachable' });
    expect(failure.says).toMatch(/127\.0\.0\.1:\d+/);
  });
});

describe('an invitation', () => {
  it('that is garbage', async () => {
    const failure = await failing('worker', '--invitation', write('garbage', 'kith:AAAA\n'));
    expect(failure).toMatchObject({ exit: 64, code: 'invitation.damaged' });
    expect((await failing('worker', '--invitation', write('garbage', 'hello\n'))).next).toContain('kith:');
  });

  it('on the command line, where everybody can read it', async () => {
    const failure = await failing('worker', '--invitation', readFileSync(world.invitation, 'utf8').trim());
    expect(failure).toMatchObject({ exit: 64, code: 'cli.secret-flag' });
    expect(failure.next).toContain('--invitation -');
    expect(JSON.stringify(failure)).not.toContain('kith:');
  });

  it('in a file that others can read', async () => {
    const path = write('open', readFileSync(world.invitation, 'utf8'), 0o644);
    const failure = await failing('worker', '--invitation', path);
    expect(failure).toMatchObject({ exit: 64, code: 'cli.secret-mode', next: `chmod 600 ${path}` });
  });

  it('that is not there, and none at all', async () => {
    const failure = await failing('worker', '--invitation', join(world.folder, 'nowhere'));
    expect(failure).toMatchObject({ exit: 64, code: 'cli.secret' });
    expect(failure.says).toContain('nowhere');
    expect(await failing('worker')).toMatchObject({ exit: 64, code: 'cli.no-account' });
  });
});

describe('kith host', () => {
  it.each(['0.0.0.0', '::', '0:0::0'])('on %s needs an address that friends can use', async (listen) => {
    const failure = await failing('host', '--listen', listen);
    expect(failure).toMatchObject({ exit: 64, code: 'cli.usage' });
    expect(failure.next).toContain('--address');
  });

  it('on a port that is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = other.address();
    const port = typeof address === 'object' ? String(address?.port) : '';
    try {
      const failure = await failing('host', '--name', 'another', '--port', port);
      expect(failure).toMatchObject({ code: 'xmpp.port-taken' });
      expect(failure.exit).not.toBe(0);
      expect(failure.says).toContain(port);
      expect(failure.next).not.toBe('');
    } finally {
      other.close();
    }
  });
});

describe('a job script', () => {
  const running = (script: string, ...args: string[]) =>
    failing('run', write('job.ts', script), ...world.as('boss'), ...args);

  it('that is not there', async () => {
    const failure = await failing('run', 'jobs/nothing.ts', ...world.as('boss'));
    expect(failure).toMatchObject({ exit: 64, code: 'job.not-found' });
    expect(failure.says).toContain('jobs/nothing.ts');
  });

  it('that throws while it is loaded', async () => {
    const failure = await running(`throw new Error('spilled coffee');`);
    expect(failure).toMatchObject({ exit: 64, code: 'job.script' });
    expect(failure.says).toContain('spilled coffee');
  });

  it('with no job in it, with unknown fields, with an impossible topology', async () => {
    const nothing = await running(`export const job = 1;`);
    expect(nothing).toMatchObject({ exit: 64, code: 'job.invalid' });
    expect(nothing.says).toContain('default export');
    const unknown = await running(`export default { name: 'x', topology: 'star', sudo: true };`);
    expect(unknown).toMatchObject({ exit: 64, code: 'job.invalid' });
    expect(unknown.says).toContain('sudo');
    expect(await running(`export default { name: 'x', topology: 'moebius' };`)).toMatchObject({ code: 'job.invalid' });
  });

  it('that wants an image that nobody knows', async () => {
    const failure = await running(
      `export default { name: 'x', topology: 'star', master: { image: 'windows' }, worker: { min: 0 } };`,
    );
    expect(failure).toMatchObject({ code: 'image.unknown' });
    expect(failure.says).toContain('windows');
  });

  it('that leaves a timer behind: the command ends nevertheless, and says all that it has to say', async () => {
    const script = write(
      'job.ts',
      `setInterval(() => {}, 1000); export default { name: 'x', topology: 'star', worker: { min: 0 } };`,
    );
    const ended = await world.run(['run', script, ...world.as('boss'), '--dry-run', '--json']);
    expect(ended.code).toBe(0);
    expect(lastJson(ended)).toMatchObject({ ok: true });
  });

  it('that runs without a name has the account of its home, and a name of its own', async () => {
    const script = write('job.ts', `export default { name: 'x', topology: 'star', worker: { min: 0 } };`);
    const args = ['run', script, '--invitation', world.invitation, '--dry-run'];
    const first = await world.run(args);
    const made = account();
    const [second, third] = await Promise.all([world.run(args), world.run(args)]);
    expect([first.code, second.code, third.code]).toEqual([0, 0, 0]);
    expect(account()).toBe(made);
  });

  it('that throws while it runs: the guests that had begun to boot are gone', async () => {
    const failure = await running(
      `import { defineJob } from 'kith';
       export default defineJob({ name: 'clumsy', topology: 'star', worker: { min: 0 }, run: async () => {
         throw new Error('spilled tea');
       } });`,
    );
    expect(failure).toMatchObject({ exit: 1, code: 'job.script-failed' });
    expect(failure.says).toBe('the script of job clumsy failed: spilled tea');
    expect(failure.next).toMatch(/job\.ts:3:\d+/);
  });
});

describe('too little to run on', () => {
  const mesh = (...args: string[]) => failing('run', join(JOBS, 'mesh.ts'), ...world.as('boss'), ...args);

  it('a worker with too little memory is not asked, and the error says why', async () => {
    const failure = await mesh('--min', '1', '--wait', '1');
    expect(failure).toMatchObject({ exit: 75, code: 'job.too-few-peers' });
    expect(failure.says).toContain('needs 1 workers, 0 said yes (friend has 64 MiB for guests, 112 are needed)');
    expect(failure.next).toContain('--min');
  });

  it('an initiator with too little memory for the master', async () => {
    const failure = await mesh('--min', '1', '--memory', '64');
    expect(failure).toMatchObject({ code: 'job.full' });
    expect(failure.says).toContain('cannot host the master guest: not enough memory: 64 MiB');
    expect(failure.next).toContain('memoryMiB');
  });

  it('a dry run with too few peers', async () => {
    const failure = await mesh('--dry-run', '--min', '2');
    expect(failure).toMatchObject({ code: 'job.too-few-peers' });
    expect(failure.says).toContain('friend has 64 MiB');
  });

  it('a dry run with enough: a table, a drawing, and nothing started', async () => {
    const [one, two] = await Promise.all([world.worker('one'), world.worker('two')]);
    const ended = await world.run(['run', join(JOBS, 'mesh.ts'), ...world.as('boss'), '--dry-run', '--min', '2']);
    expect(ended.code).toBe(0);
    expect(ended.stdout).toMatch(
      /^mesh: mesh on 10\.77\.0\.0\/24, mtu 1500, wires direct then webrtc then stanza\nmaster /,
    );
    expect(ended.stdout).toMatch(/^worker-2 +worker +02:\S+ +10\.77\.0\.3 +112 MiB +micro@[0-9a-f]{12} +(one|two)/m);
    // The drawing is below the table, and names every guest once more.
    const drawing = ended.stdout.split('\n\n')[1] ?? '';
    for (const name of ['master', 'worker-1', 'worker-2']) expect(drawing).toContain(name);
    const json = lastJson(
      await world.run(['run', join(JOBS, 'star.ts'), ...world.as('boss'), '--dry-run', '--json']),
    ) as { plan: { guests: unknown[]; lan: { topology: unknown } } };
    expect(json.plan.guests).toHaveLength(3);
    expect(json.plan.lan.topology).toEqual({ kind: 'star' });
    expect((await statusOf('one')).guests).toEqual([]);
    await Promise.all([one.stop(), two.stop()]);
  });
});

describe('this machine', () => {
  /** A PATH with nothing but what is named, and what is written into it. */
  const pathWith = (name: string, scripts: Readonly<Record<string, string>> = {}, programs: readonly string[] = []) => {
    const folder = join(world.folder, name);
    mkdirSync(folder);
    for (const program of ['sh', 'rm', 'setpriv', ...programs]) {
      const path = findProgram(program);
      if (!path) throw new Error(`this machine has no ${program}`);
      symlinkSync(path, join(folder, program));
    }
    for (const [script, text] of Object.entries(scripts)) writeFileSync(join(folder, script), text, { mode: 0o755 });
    return folder;
  };

  it('without QEMU', async () => {
    const ended = await world.run(['worker', ...world.as('bare'), '--json'], {
      env: { PATH: pathWith('bare') },
      setUp: false,
    });
    const failure = failureOf(ended);
    expect(failure).toMatchObject({ exit: 69, code: 'guest.qemu-missing', says: 'qemu-system-x86_64 not found' });
    for (const manager of ['apt', 'dnf', 'pacman', 'brew']) expect(failure.next).toContain(`${manager} `);
  });

  it('without anything, from a checkout, and without the right to install', async () => {
    const { code, stdout, stderr } = await world.run(['demo'], {
      env: { PATH: pathWith('empty') },
    });
    expect({ code, stdout }).toEqual({ code: 69, stdout: '' });
    expect(stderr).toContain('cannot start: qemu-system-x86_64, ');
    for (const manager of ['apt-get', 'dnf', 'pacman', 'brew']) expect(stderr).toContain(`${manager} `);
  });

  it('with a QEMU that is too old', async () => {
    const old = pathWith('old', { 'qemu-system-x86_64': '#!/bin/sh\necho QEMU emulator version 6.2.0\n' });
    const failure = failureOf(
      await world.run(['worker', ...world.as('old'), '--json'], { env: { PATH: old }, setUp: false }),
    );
    expect(failure).toMatchObject({ exit: 69, code: 'guest.qemu-too-old' });
    expect(failure.says).toContain('6.2.0');
    expect(failure.says).toContain('7.2');
  });

  it('without Prosody', async () => {
    const failure = failureOf(
      await world.run(['host', '--name', 'another', '--json'], {
        env: { PATH: pathWith('mute', {}, ['openssl']) },
        setUp: false,
      }),
    );
    expect(failure).toMatchObject({ exit: 69, code: 'xmpp.prosody-missing' });
    expect(failure.next).toContain('prosody');
  });

  it('with an image whose hash differs: named, removed, and never used', async () => {
    const cache = join(world.folder, 'cache');
    const images = join(cache, 'kith', 'images');
    cpSync(kithPaths().cache, join(cache, 'kith'), { recursive: true });
    const spoiled = readdirSync(images)
      .filter((name) => !name.startsWith('.'))
      .map((hash) => join(images, hash, 'kernel'))
      .map((path) => {
        const kernel = readFileSync(path);
        kernel.writeUInt8((kernel.at(-1) ?? 0) ^ 1, kernel.length - 1);
        chmodSync(path, 0o600);
        writeFileSync(path, kernel);
        return path;
      });
    // Without apt it cannot be built anew either.
    const ended = await world.run(
      ['run', join(JOBS, 'mesh.ts'), ...world.as('boss'), '--dry-run', '--min', '0', '--json'],
      { env: { XDG_CACHE_HOME: cache, PATH: pathWith('offline', {}, ['qemu-system-x86_64']) }, setUp: false },
    );
    expect(failureOf(ended)).toMatchObject({ exit: 69, code: 'image.no-apt' });
    expect(ended.stderr).toMatch(/image file \S+\/kernel is not what was stored, so the image was removed/);
    expect(spoiled.filter((path) => existsSync(path)).length).toBeLessThan(spoiled.length);
  });
});

describe('a server that goes in mid-run', () => {
  it('the host says so and ends; peers stay, say that they try again, and end on a word, leaving nothing', async () => {
    await using world = await openWorld();
    const host = await world.host();
    const worker = await world.worker('w1', '--memory', '64');
    const run = world.start(['run', join(JOBS, 'mesh.ts'), ...world.as('boss'), '--min', '1', '--json']);
    await poll('the job waits', () => run.output.stderr.includes('waiting for 1 workers'), 30_000);
    const prosody = processesOf(world.folder).find((line) => /prosody/.test(line) && !/main\.ts/.test(line));
    process.kill(Number(prosody?.split(' ')[0]), 'SIGKILL');
    const ended = await host.ended;
    expect(ended.code).not.toBe(0);
    const { error } = lastJson(ended) as { error: { code: string; message: string; hint: string } };
    expect(error.code).toBe('host.ended');
    expect(error.hint).toContain('new invitation');
    for (const peer of [worker, run]) {
      await poll(
        'word of the lost server',
        () => /"level":"warn".*(lost|unreachable|gone)/.test(peer.output.stderr),
        30_000,
      );
    }
    const { peer } = lastJson(await world.run(['ps', '--json', '--peer', 'w1'])) as unknown as PeerStatus;
    expect(peer.pid).toBe(worker.pid);
    expect((await run.stop('SIGINT')).code).toBe(130);
    // To leave when told is what a worker is for: no failure.
    expect((await worker.stop('SIGTERM')).code).toBe(0);
    expect(world.leftovers()).toEqual([]);
  });
});
