/** `kith demo --links`: links change under a running ssh session, a hub dies, a ring is cut; the guests go on talking. */
import { setTimeout as sleep } from 'node:timers/promises';
import { KithError } from '../base/errors.ts';
import type { PeerStatus } from '../control/api.ts';
import type { CommandContext } from './command.ts';
import { openStage, reportOf, type Stage } from './demo-stage.ts';

/** Each end of the ladder once, and one step back. What a link may use at a time: the best of these is what it will use. */
const CLIMB = [['stanza'], ['webrtc', 'stanza'], ['direct', 'webrtc', 'stanza'], ['webrtc', 'stanza']] as const;

/** Numbers go to the other guest by ssh and come back: each one that is missing or late is seen in the file. */
const SESSION =
  'i=0; while :; do echo $i; i=$((i+1)); sleep 0.25; done | ssh worker-1 cat >/tmp/session 2>/tmp/session.err';
const TRANSFER = 'iperf3 -c worker-1 -t 3600 -i 1 --forceflush >/tmp/transfer 2>&1';
/** So many more numbers have to come over each rung before the next one. */
const NUMBERS = 12;

const POLL_MS = 250;
/** For each condition. A stanza wire carries a few kilobytes a second, and guests under software emulation are slow. */
const PATIENCE_MS = 180_000;

interface Story {
  readonly climb: readonly { readonly wire: string; readonly numbers: number; readonly mbits: number }[];
  readonly hub: { readonly killed: string; readonly next: string; readonly seconds: number };
  readonly ring: { readonly cut: string; readonly seconds: number };
}

export async function showLinks(context: CommandContext): Promise<number> {
  const [climb, hub] = await withStar(context);
  const ring = await withRing(context);
  const story: Story = { climb, hub, ring };
  if (context.json) context.stdout(`${JSON.stringify({ ok: true, ...story })}\n`);
  else context.stdout(tell(story));
  return 0;
}

async function withStar(context: CommandContext): Promise<readonly [Story['climb'], Story['hub']]> {
  // At Debian's stock limit: the rung that goes through the chat server is as slow as it is in real life.
  await using stage = await openStage(context, { workers: 3, rate: 'stock' });
  const scene = await openScene(context, stage, 'hub');

  await scene.inBackground('worker-1', 'iperf3 -s');
  const climb: Story['climb'][number][] = [];
  for (const wires of CLIMB) {
    const [wire] = wires;
    await scene.kith('link', 'master', 'worker-1', '--wires', wires.join(','));
    await scene.until(`the link is on ${wire}`, async () => (await scene.wireOf('master', 'worker-1')) === wire);
    if (climb.length === 0) {
      await scene.inBackground('master', SESSION);
      await scene.inBackground('master', TRANSFER);
    }
    const before = (await scene.numbers()).length;
    await scene.until(
      `${NUMBERS} numbers over ${wire}`,
      async () => (await scene.numbers()).length >= before + NUMBERS,
    );
    climb.push({ wire, numbers: (await scene.numbers()).length - before, mbits: await scene.transfer() });
    await scene.show(`ssh and iperf3 go on over ${wire}`);
  }
  const numbers = await scene.numbers();
  if (numbers.some((number, index) => number !== index))
    throw broken('the ssh session lost or repeated a line while the link changed');

  const before = (await scene.status()).guests.find(({ name }) => name === 'worker-1')?.peer ?? '';
  await scene.reaches('master', 'worker-3');
  stage.friends.get(before)?.kill('SIGKILL');
  const started = performance.now();
  await scene.reaches('master', 'worker-3');
  const seconds = secondsSince(started);
  const { links } = await scene.status();
  const next = links.find(({ to, from }) => to === 'worker-3' || from === 'worker-3');
  await scene.show(`${before}, whose guest was the hub, was killed; ${next?.from ?? 'nobody'} is the hub now`);
  return [climb, { killed: before, next: next?.from ?? '', seconds }];
}

async function withRing(context: CommandContext): Promise<Story['ring']> {
  await using stage = await openStage(context, { workers: 3, rate: '1000000' });
  const scene = await openScene(context, stage, 'ring');
  await scene.kith('link', 'master', 'worker-1', '--cut');
  const started = performance.now();
  await scene.reaches('master', 'worker-1');
  const seconds = secondsSince(started);
  await scene.until('the link is down', async () => (await scene.wireOf('master', 'worker-1')) === 'down');
  await scene.reaches('master', 'worker-1');
  await scene.show('the link master - worker-1 is cut, the other way round carries the frames');
  return { cut: 'master - worker-1', seconds };
}

interface Scene {
  kith(...args: readonly string[]): Promise<string>;
  status(): Promise<PeerStatus>;
  wireOf(a: string, b: string): Promise<string | undefined>;
  inBackground(guest: string, script: string): Promise<void>;
  /** Resolves when a ping got through. */
  reaches(from: string, to: string): Promise<void>;
  /** What has come back through the ssh session so far. */
  numbers(): Promise<readonly number[]>;
  /** Mbit/s of the last whole second. */
  transfer(): Promise<number>;
  until(what: string, condition: () => Promise<boolean>): Promise<void>;
  show(title: string): Promise<void>;
}

async function openScene(context: CommandContext, stage: Stage, job: string): Promise<Scene> {
  await reportOf(stage.run(job, '--hold'), 'the initiator', context.signal);
  const { signal } = context;
  const kith: Scene['kith'] = (...args) => stage.ask(...args);
  const status = async () => JSON.parse(await kith('ps', '--json')) as PeerStatus;
  const exec = (guest: string, script: string) => kith('exec', guest, '--', 'sh', '-c', script);
  const until: Scene['until'] = async (what, condition) => {
    const late = AbortSignal.timeout(PATIENCE_MS);
    while (!(await condition())) {
      if (late.aborted) throw broken(`it took too long until ${what}`);
      await sleep(POLL_MS, undefined, { signal });
    }
  };
  return {
    kith,
    status,
    until,
    async wireOf(a, b) {
      const { links } = await status();
      return links.find(({ from, to }) => (from === a && to === b) || (from === b && to === a))?.wire;
    },
    async inBackground(guest, script) {
      await exec(guest, `setsid sh -c '${script}' </dev/null >/dev/null 2>&1 &`);
    },
    reaches: (from, to) =>
      until(`${from} reaches ${to}`, async () =>
        (await exec(from, `ping -c 1 -W 1 ${to} >/dev/null && echo answered`)).includes('answered'),
      ),
    numbers: async () => (await exec('master', 'cat /tmp/session')).trim().split('\n').filter(Boolean).map(Number),
    async transfer() {
      const text = await exec('master', 'tail -n 5 /tmp/transfer');
      const rates = [...text.matchAll(/([\d.]+) ([KMG]?)bits\/sec/g)];
      const [, value = '0', unit = ''] = rates.at(-1) ?? [];
      return Number(value) * (UNITS[unit] ?? 0);
    },
    async show(title) {
      context.stderr(`\n${title}\n${await kith('ps', '--links')}`);
    },
  };
}

/** Of iperf3, in Mbit/s. */
const UNITS: Readonly<Record<string, number>> = { '': 1e-6, K: 1e-3, M: 1, G: 1e3 };

const secondsSince = (started: number) => Math.round((performance.now() - started) / 10) / 100;

const broken = (message: string) =>
  new KithError({ code: 'demo.failed', message, hint: 'KITH_LOG=debug shows what the peers did' });

function tell({ climb, hub, ring }: Story): string {
  return [
    ...climb.map(
      ({ wire, numbers, mbits }) => `${wire}: ${numbers} lines of the ssh session, iperf3 ${mbits.toFixed(2)} Mbit/s`,
    ),
    `the hub (${hub.killed}) was killed: ${hub.next} is the hub, guests talk again after ${hub.seconds} s`,
    `${ring.cut} was cut: guests talk again after ${ring.seconds} s`,
    '',
  ].join('\n');
}
