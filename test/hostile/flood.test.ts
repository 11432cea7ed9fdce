/** A minute of the worst that a server can pour over a peer: sixty thousand stanzas, malformed, forged, repeated and oversized mixed in. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { xml } from '@xmpp/client';
import { expect, test, vi } from 'vitest';
import { KITH_NS } from '../../src/protocol/namespaces.ts';
import type { Element } from '../../src/xmpp/xml.ts';
import { leaseRequest, openHome, type Friend } from '../harness/evil-friends.ts';
import { openEvilWorld, type EvilWorld } from '../harness/evil-world.ts';
import { forge, presence, question, strangeDevice, type Known } from '../harness/evil-words.ts';
import { soon } from '../harness/xmpp.ts';

/** 1,000 messages a second for a minute, poured as fast as the victim takes them. */
const MESSAGES = 60_000;
/** After so many the lease is renewed, and the pouring waits for the answer. */
const BATCH = 1000;
/** Larger than a message of ours may be, smaller than what a server lets through. */
const OVERSIZED = 120_000;
const MAX_GROWTH_MIB = 30;

interface Victim extends AsyncDisposable {
  readonly jid: string;
  look(): Promise<{ readonly residentMiB: number; readonly guests: number }>;
  readonly alive: boolean;
}

async function startVictim(world: EvilWorld, room: string): Promise<Victim> {
  const home = await openHome();
  const { host, domain, fingerprint, bytesPerSecond } = world.prosody.server;
  const options = {
    name: 'ben',
    nick: 'ben',
    role: 'worker',
    server: { host, port: world.evil.port, domain, fingerprint, bytesPerSecond },
    account: await world.prosody.account('ben'),
    room,
    createRoom: true,
    accept: 'room',
    limits: { memoryMiB: 1000, cpus: 4, guests: 10 },
    wireAddress: '127.0.0.1',
    iceServers: [],
    paths: Object.fromEntries(['config', 'state', 'cache', 'runtime'].map((name) => [name, join(home.path, name)])),
  };
  const program = new URL('../harness/evil-victim-process.ts', import.meta.url).pathname;
  const child: ChildProcess = fork(program, [JSON.stringify(options)], { execArgv: ['--expose-gc'] });
  const hear = async <T>(): Promise<T> => ((await once(child, 'message')) as [T])[0];
  const { jid } = await hear<{ jid: string }>();
  return {
    jid,
    get alive() {
      return child.exitCode === null && child.signalCode === null;
    },
    async look() {
      const heard = hear<{ residentMiB: number; guests: number }>();
      child.send('memory');
      return heard;
    },
    async [Symbol.asyncDispose]() {
      const ended = once(child, 'exit');
      if (child.exitCode === null) {
        child.send('end');
        await ended;
      }
      await home[Symbol.asyncDispose]();
    },
  };
}

/** What is poured, by turns. All of it names the victim; none of it may do anything. */
async function poisons(alice: Friend, room: string, victim: string): Promise<((turn: number) => Element)[]> {
  const known = { jid: victim, circle: alice.circle, room: { jid: room }, device: alice.device } as unknown as Known;
  const box = alice.circle.member(victim)?.box ?? '';
  const forged = await forge(
    strangeDevice(),
    alice,
    { ...known, circle: { ...alice.circle, boxKey: { key: box } } } as Known,
    'lease.end',
    '{}',
  );
  const stranger = (turn: number) => `stranger-${turn % 5000}@kith.internal/x`;
  const headline = (text: string) =>
    xml(
      'message',
      { type: 'headline', from: alice.jid, to: victim },
      xml('frames', { xmlns: KITH_NS, link: 'link:job:1-2', key: 'A'.repeat(43), n: '1' }, text),
    );
  return [
    () => question(`${alice.account}/other`, victim, forged),
    (turn) => question(stranger(turn), victim, '{"kind":'),
    () => headline('QUFB'.repeat(1000)),
    () => headline('no base64 at all'),
    (turn) => presence({ room, nick: `ghost-${turn}`, jid: stranger(turn) }, victim, 'no hello'),
    (turn) => xml('iq', { type: 'get', id: `${turn}`, from: stranger(turn), to: victim }, xml('query', { xmlns: 'u' })),
    (turn) => xml('iq', { type: 'result', id: `${turn}`, from: stranger(turn), to: victim }),
    (turn) =>
      xml('message', { id: `${turn}`, from: stranger(turn), to: victim }, xml('body', {}, '\u20ac'.repeat(100))),
    (turn) =>
      turn % 100 === 8
        ? question(stranger(turn), victim, 'x'.repeat(OVERSIZED))
        : xml('message', { from: room, to: victim, type: 'groupchat' }, xml('kith', { xmlns: KITH_NS }, '[[[[')),
  ];
}

test('a flood costs nobody a lease, and the peer neither its life nor its memory', async () => {
  await using world = await openEvilWorld();
  const room = world.newRoom();
  await using alice = await world.open('alice', room);
  await using victim = await startVictim(world, room);
  await vi.waitFor(() => expect(alice.circle.member(victim.jid)).toBeDefined(), soon);
  const { lease } = await alice.mailbox.request(victim.jid, leaseRequest());
  const pour = await poisons(alice, room, victim.jid);

  // What a server answers to answers is its own affair.
  world.evil.run(({ client, direction, stanza }) =>
    client === victim.jid && direction === 'toServer' && String(stanza.attrs['to']).startsWith('stranger-')
      ? 'drop'
      : undefined,
  );
  const sizes: number[] = [];
  let renewals = 0;
  const begun = performance.now();
  for (let turn = 0; turn < MESSAGES;) {
    for (const end = turn + BATCH; turn < end; turn++) world.evil.inject(victim.jid, pour[turn % pour.length]!(turn));
    const { seconds } = await alice.mailbox.request(
      victim.jid,
      { kind: 'lease.renew', lease, seconds: 90 },
      { timeoutMs: 60_000 },
    );
    if (seconds > 0) renewals++;
    world.evil.forget();
    sizes.push((await victim.look()).residentMiB);
  }
  const perSecond = MESSAGES / ((performance.now() - begun) / 1000);
  const [first = 0] = sizes;
  const growth = Math.max(...sizes) - first;
  process.stdout.write(
    `flood: ${MESSAGES} messages at ${Math.round(perSecond)}/s, ${renewals} renewals, memory ${first.toFixed(1)} MiB, growth ${growth.toFixed(1)} MiB\n`,
  );
  expect(victim.alive).toBe(true);
  expect(renewals).toBe(MESSAGES / BATCH);
  expect((await victim.look()).guests).toBe(1);
  expect(growth).toBeLessThan(MAX_GROWTH_MIB);
}, 600_000);
