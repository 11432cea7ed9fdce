/** Real `kith` processes in fresh homes: from nothing but a link to pinned keys, and every way in which a link is none. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../../../src/base/process.ts';
import type { OccupantStatus, PeerStatus } from '../../../src/control/api.ts';
import type { InvitationStatus } from '../../../src/control/host-api.ts';
import { openDevice } from '../../../src/trust/device.ts';
import { decodeInvitation, encodeInvitation, type Invitation } from '../../../src/trust/invitation.ts';
import { lastJson, openWorld, poll, type Ended, type KithProcess, type World } from '../../harness/kith.ts';

/** A joining takes half a second here; under load on a slow machine much longer. */
const SLOW = 180_000;
const MAIN = new URL('../../../src/cli/main.ts', import.meta.url).pathname;

let world: World;
let ann: Home;
let host: Record<string, unknown>;

interface Home {
  readonly env: Readonly<Record<string, string>>;
  readonly state: string;
  /** Ends well, and says it in JSON. */
  kith(...args: readonly string[]): Promise<Record<string, unknown>>;
  run(...args: readonly string[]): Promise<Ended>;
  start(...args: readonly string[]): KithProcess;
  /** Ends badly: the code of the error. */
  failing(...args: readonly string[]): Promise<{ exit: number | undefined; code: string; says: string; next: string }>;
}

/** A user account of its own, as far as kith can tell. Nothing is in it. */
function home(name: string): Home {
  const folder = join(world.folder, name);
  mkdirSync(join(folder, 'r'), { recursive: true, mode: 0o700 });
  const env = {
    XDG_STATE_HOME: join(folder, 's'),
    XDG_CONFIG_HOME: join(folder, 'c'),
    XDG_RUNTIME_DIR: join(folder, 'r'),
  };
  const start = (...args: readonly string[]) => world.start(args, { env, setUp: false });
  const run = (...args: readonly string[]) => start(...args).ended;
  return {
    env,
    state: join(folder, 's', 'kith'),
    start,
    run,
    async kith(...args) {
      const ended = await run(...args, '--json');
      expect([args, ended.code, ended.code === 0 ? '' : ended.stdout + ended.stderr]).toEqual([args, 0, '']);
      return lastJson(ended);
    },
    async failing(...args) {
      const ended = await run(...args, '--json');
      const { error } = lastJson(ended) as { error: { code: string; message: string; hint?: string } };
      return { exit: ended.code, code: error.code, says: error.message, next: error.hint ?? '' };
    },
  };
}

let files = 0;
const fileOf = (link: string) => {
  const path = join(world.folder, `link-${++files}`);
  writeFileSync(path, `${link}\n`, { mode: 0o600 });
  return path;
};

const invite = async (...args: readonly string[]) => {
  const { link, id, expires } = (await ann.kith('invite', ...args)) as Record<'link' | 'id' | 'expires', string>;
  return { link, id, expires, file: fileOf(link) };
};

/** Of a running peer of that home. */
async function seenBy(at: Home, peer: string): Promise<readonly OccupantStatus[]> {
  return ((await at.kith('ps', '--peer', peer)) as unknown as PeerStatus).occupants;
}

const trustOf = async (at: Home, peer: string, nick: string) =>
  (await seenBy(at, peer)).find((occupant) => occupant.nick === nick)?.trust;

async function contactsOf(at: Home) {
  const { contacts } = await at.kith('contacts');
  return (contacts as { fingerprint: string; pin: string }[]).map(({ fingerprint, pin }) => [fingerprint, pin]);
}

const fingerprintOf = async (at: Home) => String((await at.kith('id'))['fingerprint']);

/** A link as ann's device would sign it, with other facts in it. */
async function resigned(link: string, more: Partial<Invitation>): Promise<string> {
  return encodeInvitation(await openDevice(ann.state), { ...decodeInvitation(link), ...more });
}

const worker = async (at: Home, name: string, ...args: readonly string[]) => {
  const started = at.start(
    'worker',
    '--json',
    '--name',
    name,
    '--memory',
    '64',
    '--wire-address',
    '127.0.0.1',
    ...args,
  );
  await started.ready;
  return started;
};

beforeAll(async () => {
  world = await openWorld();
  ann = home('ann');
  host = await ann.start('host', '--json', '--nick', 'ann').ready;
}, SLOW);

afterAll(() => world?.[Symbol.asyncDispose]());

describe('two fresh homes and nothing but a link', () => {
  it(
    'kith invite | kith join',
    async () => {
      const ben = home('ben');
      const words = (at: Home) =>
        Object.entries(at.env)
          .map(([key, value]) => `${key}='${value}'`)
          .join(' ');
      const kith = `'${process.execPath}' '${MAIN}'`;
      const line = `${words(ann)} ${kith} invite | ${words(ben)} ${kith} join - --nick ben --json`;
      const { exitCode, stdout, stderr } = await runCommand('sh', ['-c', line], { timeoutMs: SLOW });
      expect([exitCode, exitCode === 0 ? '' : stderr]).toEqual([0, '']);
      expect(stderr).not.toContain('contact lists not joined');
      const device = await fingerprintOf(ben);
      expect(lastJson({ code: 0, stdout, stderr })).toMatchObject({
        room: host['room'],
        device,
        inviter: { nick: 'ann', device: host['device'] },
        members: [{ nick: 'host', trust: 'invited', device: host['device'], because: 'it invited us into this room' }],
      });
      expect(await contactsOf(ben)).toEqual([[host['device'], 'invited']]);
      expect(await contactsOf(ann)).toContainEqual([device, 'invited']);
      // From now on no command there needs an invitation.
      const peer = await worker(ben, 'ben');
      expect(await trustOf(ben, 'ben', 'host')).toBe('invited');
      await poll('the host knows the worker', async () => (await trustOf(ann, 'host', 'ben')) === 'invited', SLOW);
      expect((await peer.stop()).code).toBe(0);
    },
    SLOW,
  );

  it(
    'a link for one device lets all processes of that device in, also when two start at once',
    async () => {
      const { file, id } = await invite();
      const cleo = home('cleo');
      const [one, two] = await Promise.all(['one', 'two'].map((name) => worker(cleo, name, '--invitation', file)));
      const accounts = await Promise.all([one, two].map(async (each) => String((await each?.ready)?.['jid'])));
      const [first = '', second = ''] = accounts.map((jid) => jid.split('/')[0]);
      expect(first).toBe(second);
      await poll('one sees two', async () => (await trustOf(cleo, 'one', 'two')) === 'self', SLOW);
      const { invitations } = await ann.kith('invite', '--list');
      const used = (invitations as InvitationStatus[]).find((each) => each.id === id);
      expect(used).toMatchObject({ uses: 1, revoked: false });
      expect(used?.usedBy).toHaveLength(1);
      await Promise.all([one?.stop(), two?.stop()]);
    },
    SLOW,
  );

  it(
    'a link on the command line works, with a warning',
    async () => {
      const { link } = await invite();
      const ended = await home('dora').run('join', link);
      expect([ended.code, ended.stderr]).toEqual([0, expect.stringContaining('warning: others on this machine')]);
      expect(ended.stdout).toContain('invited by ann');
    },
    SLOW,
  );
});

describe('a link that is none', () => {
  it(
    'the same again: in the same home, and in another one',
    async () => {
      const { file } = await invite();
      const eve = home('eve');
      await eve.kith('join', '--file', file);
      const again = await eve.failing('join', '--file', file);
      expect(again).toMatchObject({ exit: 77, code: 'invitation.already-member' });
      expect(again.says).toMatch(/friend-[0-9a-f]{6}@kith\.internal/);
      const other = await home('eve-2').failing('join', '--file', file);
      expect(other).toMatchObject({ exit: 77, code: 'invitation.used-up' });
      expect(other.next).not.toBe('');
    },
    SLOW,
  );

  it(
    'expired',
    async () => {
      const { file, expires } = await invite('--expires', '1s');
      await poll('its time is over', () => Date.now() > Date.parse(expires), SLOW);
      const failure = await home('finn').failing('join', '--file', file);
      expect(failure).toMatchObject({ exit: 77, code: 'invitation.expired' });
      expect(failure.says).toContain('ann');
      // Whoever sets the clock back, or signs anew, meets the server.
      const late = await resigned(readFileSync(file, 'utf8'), { expires: Date.now() + 3_600_000 });
      expect(await home('finn').failing('join', '--file', fileOf(late))).toMatchObject({ code: 'invitation.expired' });
    },
    SLOW,
  );

  it(
    'revoked, by id and by link',
    async () => {
      const [one, two] = [await invite(), await invite()];
      expect(await ann.kith('revoke', one.id)).toMatchObject({ id: one.id });
      expect(await ann.kith('revoke', '--file', two.file)).toMatchObject({ id: two.id });
      for (const { file } of [one, two])
        expect(await home('gil').failing('join', '--file', file)).toMatchObject({
          exit: 77,
          code: 'invitation.revoked',
        });
      expect(await ann.failing('revoke', '00000000')).toMatchObject({ code: 'invitation.unknown' });
    },
    SLOW,
  );

  it(
    'with one flipped bit, wherever it is',
    async () => {
      const { link } = await invite();
      const flipped = (at: number) => {
        const bytes = Buffer.from(link, 'latin1');
        bytes[at] = (bytes[at] ?? 0) ^ 1;
        return bytes.toString('latin1');
      };
      for (let at = 0; at < link.length; at++) expect(() => decodeInvitation(flipped(at))).toThrow('invitation');
      const hana = home('hana');
      for (const at of [7, Math.floor(link.length / 2), link.length - 1]) {
        const failure = await hana.failing('join', '--file', fileOf(flipped(at)));
        expect(failure).toMatchObject({ exit: 64, code: 'invitation.damaged' });
        expect(failure.next).toContain('ask your friend to send it again');
      }
      await hana.kith('join', '--file', fileOf(link)); // nothing of it was used up
    },
    SLOW,
  );

  it(
    'for a room that is not there, for a server with another certificate, from somebody who is not there',
    async () => {
      const [{ link }, ivan] = [await invite('--uses', '5'), home('ivan')];
      const joining = async (line: string) => ivan.failing('join', '--file', fileOf(line));
      const room = 'nowhere@rooms.kith.internal';
      expect(await joining(await resigned(link, { room }))).toMatchObject({
        exit: 77,
        code: 'invitation.wrong-room',
        says: expect.stringContaining(room) as string,
      });
      const fingerprint = Array.from({ length: 32 }, () => 'AB').join(':');
      expect(await joining(await resigned(link, { fingerprint }))).toMatchObject({
        exit: 77,
        code: 'xmpp.certificate',
      });
      // The token is right, but whoever signed the line is not in the room: a link that was made up on the way.
      const mallory = await openDevice(join(world.folder, 'mallory'));
      const made = encodeInvitation(mallory, decodeInvitation(link));
      const absent = await joining(made);
      expect(absent).toMatchObject({ exit: 69, code: 'trust.no-inviter' });
      expect(absent.next).not.toBe('');
    },
    SLOW,
  );
});

describe('kith ban', () => {
  it(
    'puts a running worker out, keeps it out, and lets it in again when it is lifted',
    async () => {
      const [jon, kim] = [home('jon'), home('kim')];
      const { file, id } = await invite();
      await jon.kith('join', '--file', file);
      await kim.kith('join', '--file', (await invite()).file);
      const out = await worker(jon, 'jon');
      const witness = await worker(kim, 'kim');
      await poll('they trust each other', async () => (await trustOf(kim, 'kim', 'jon')) === 'invited', SLOW);

      const banned = await ann.kith('ban', 'jon');
      expect(banned).toMatchObject({ revoked: [id], banned: [{ nick: 'jon', fingerprint: await fingerprintOf(jon) }] });
      const ended = await out.ended;
      expect([ended.code, lastJson(ended)]).toEqual([
        77,
        expect.objectContaining({
          ok: false,
          error: expect.objectContaining({ code: expect.stringMatching(/banned$/) }),
        }),
      ]);
      await poll('he is gone', async () => (await trustOf(kim, 'kim', 'jon')) === undefined, SLOW);
      expect((await contactsOf(kim)).flat()).not.toContain(await fingerprintOf(jon));
      expect(await trustOf(kim, 'kim', 'host')).toBe('invited');
      // The door stays shut, to the account and to a new one.
      expect(await jon.failing('worker', '--name', 'jon')).toMatchObject({ exit: 77, code: 'xmpp.banned' });
      expect(await ann.failing('ban', 'jon')).toMatchObject({ code: 'host.banned-already' });
      expect(await ann.failing('ban', 'nobody')).toMatchObject({ code: 'host.nobody' });
      expect(await ann.failing('ban', 'host')).toMatchObject({ code: expect.stringMatching(/host\.(self|nobody)/) });

      await ann.kith('unban', 'jon');
      const back = await worker(jon, 'jon');
      await poll('he is back', async () => (await trustOf(kim, 'kim', 'jon')) === 'invited', SLOW);
      await Promise.all([back.stop(), witness.stop()]);
    },
    SLOW,
  );
});

describe('kith verify and kith vouch', () => {
  it(
    'both sides see the same six words; then the key is verified',
    async () => {
      const lea = home('lea');
      await lea.kith('join', '--file', (await invite()).file);
      const peer = await worker(lea, 'lea');
      await poll('the host sees her', async () => (await trustOf(ann, 'host', 'lea')) === 'invited', SLOW);
      const asked = await ann.run('verify', 'lea'); // no terminal to answer on
      const [words = ''] = /(?<=^ {2})\S+( \S+){5}$/m.exec(asked.stderr) ?? [];
      expect([asked.code, words.split(' ')]).toEqual([64, expect.arrayContaining([expect.stringMatching(/^[a-z]+$/)])]);
      expect(await lea.failing('verify', 'host', '--words', 'one two three four five six')).toMatchObject({
        code: 'trust.words-differ',
      });
      expect(await lea.kith('verify', 'host', '--words', words)).toMatchObject({ nick: 'host', told: ['lea'] });
      expect(await ann.kith('verify', 'lea', '--yes', '--words', words)).toMatchObject({ told: ['host'] });
      expect([await trustOf(lea, 'lea', 'host'), await trustOf(ann, 'host', 'lea')]).toEqual(['verified', 'verified']);
      expect(await contactsOf(lea)).toContainEqual([host['device'], 'verified']);
      await peer.stop();
    },
    SLOW,
  );

  it(
    'an old device stands for a new one, and for no other',
    async () => {
      const [tablet, other] = [home('tablet'), home('other')];
      const { key } = await tablet.kith('id');
      const { vouch } = await ann.kith('vouch', String(key));
      expect(await tablet.kith('vouch', '--take', String(vouch))).toMatchObject({ by: host['device'] });
      expect(await other.failing('vouch', '--take', String(vouch))).toMatchObject({ code: 'trust.vouch' });
      expect(await ann.failing('vouch', 'kith:nonsense')).toMatchObject({ exit: 64, code: 'cli.usage' });
    },
    SLOW,
  );
});

describe('kith host', () => {
  it(
    'runs once at a time, and only where it runs there are invitations',
    async () => {
      expect(await ann.failing('host')).toMatchObject({ code: 'host.running' });
      expect(await home('nina').failing('invite')).toMatchObject({ exit: 69, code: 'control.no-host' });
    },
    SLOW,
  );

  it(
    'with --keep it comes back as the same server, with its members',
    async () => {
      const [olga, pia] = [home('olga'), home('pia')];
      const first = olga.start('host', '--json', '--keep', 'team');
      const { port, invitation, room } = await first.ready;
      await pia.kith('join', '--file', fileOf(String(invitation)));
      expect((await first.stop()).code).toBe(0);
      const second = olga.start('host', '--json', '--keep', 'team');
      expect(await second.ready).toMatchObject({ port, room });
      const peer = await worker(pia, 'pia');
      expect(await trustOf(pia, 'pia', 'host')).toBe('invited');
      await peer.stop();
      const { invitations } = await olga.kith('invite', '--list');
      expect((invitations as InvitationStatus[]).map(({ usedBy }) => usedBy.length)).toEqual([1, 0]);
      await second.stop();
    },
    SLOW,
  );
});
