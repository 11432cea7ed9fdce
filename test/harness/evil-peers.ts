/** Whole peers behind the malicious server: real rooms, worker, policy and data channels; only their images and guests are made up. */
import { join } from 'node:path';
import { silentLog } from '../../src/base/log.ts';
import type { PeerOptions } from '../../src/peer/options.ts';
import { openPeer, type Peer } from '../../src/peer/peer.ts';
import type { Plan } from '../../src/protocol/plan.ts';
import { openHome } from './evil-friends.ts';
import type { EvilWorld } from './evil-world.ts';

export async function openEvilPeer(
  world: EvilWorld,
  name: string,
  room: string,
  more: Partial<PeerOptions> = {},
): Promise<Peer> {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(await openHome()).path;
  const { host, domain, fingerprint, bytesPerSecond } = world.prosody.server;
  const stop = new AbortController();
  const peer = await openPeer({
    name,
    nick: name,
    role: 'worker',
    server: { host, port: world.evil.port, domain, fingerprint, bytesPerSecond },
    account: await world.prosody.account(name),
    room,
    trust: { save: async () => {} },
    createRoom: true,
    accept: 'room',
    limits: { memoryMiB: 10_000, cpus: 4, guests: 100 },
    prompt: undefined,
    wireAddress: '127.0.0.1',
    wirePort: undefined,
    announce: [],
    mapPort: false,
    iceServers: [],
    paths: {
      config: join(home, 'config'),
      state: join(home, 'state'),
      cache: join(home, 'cache'),
      runtime: join(home, 'run'),
    },
    log: silentLog,
    signal: stop.signal,
    onDown: () => {},
    ...more,
  });
  stack.defer(peer[Symbol.asyncDispose].bind(peer));
  const owned = stack.move();
  return Object.assign(peer, { [Symbol.asyncDispose]: () => owned.disposeAsync() });
}

const MASTER_KEY = `ssh-ed25519 ${'A'.repeat(68)}`;

/** A plan that all rules allow: node 1 is the master guest. */
export function planOf(facts: {
  readonly job: string;
  readonly initiator: string;
  readonly peers: readonly string[];
  readonly revision?: number;
  readonly memoryMiB?: number;
  readonly hash?: string;
  readonly wires?: Plan['wires'];
}): Plan {
  const { job, initiator, peers, revision = 1, memoryMiB = 128, hash = 'a'.repeat(64), wires = ['webrtc'] } = facts;
  const slots = peers.map((_, index) => ({
    name: index === 0 ? 'master' : `worker-${index}`,
    node: index + 1,
    mac: `02:00:00:0${index + 1}:00:00`,
    address: `10.77.0.${index + 1}`,
  }));
  return {
    version: 1,
    job: { id: job, name: 'mesh', revision, initiator },
    lan: { id: 7, subnet: '10.77.0.0/24', mtu: 1500, topology: { kind: 'mesh' }, slots },
    guests: peers.map((peer, index) => ({
      ...slots[index]!,
      role: index === 0 ? 'master' : 'worker',
      peer,
      memoryMiB,
      cpus: 1,
      image: { name: 'micro', hash, bytes: 1 },
    })),
    wires,
    masterKey: MASTER_KEY,
  };
}
