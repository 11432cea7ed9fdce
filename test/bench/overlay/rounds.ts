/** All overlays stand side by side; each round gives each of them one turn, so that whatever else the machine does hits all alike. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describeError } from '../../../src/base/errors.ts';
import { megabitsText } from './table.ts';
import type { Sample } from './figures.ts';
import { takeTurn, type Turn } from './measure.ts';
import type { Opened, Overlay, Place } from './overlay.ts';
import { SIDES, until, type Running, type Site } from './site.ts';

export interface Contestant {
  readonly overlay: Overlay;
  readonly opened: Opened;
  readonly target: string;
  readonly samples: Sample[];
}

type Say = (line: string) => void;

const FIRST_PORT = 20_000;
const PORTS_EACH = 10;
const PING_SECONDS = '1';

/** One that does not come up is told and left out: the others are worth measuring all the same. */
export async function openAll(site: Site, overlays: readonly Overlay[], say: Say): Promise<Contestant[]> {
  const contestants: Contestant[] = [];
  for (const [i, overlay] of overlays.entries()) {
    const key = `${overlay.name}-${overlay.mtu}`;
    const place: Place = {
      site,
      mtu: overlay.mtu,
      folder: join(site.folder, String(i)),
      device: `kb${i}`,
      port: FIRST_PORT + PORTS_EACH * i,
      address: { a: `10.98.${i}.1`, b: `10.98.${i}.2` },
    };
    mkdirSync(place.folder, { mode: 0o700 });
    try {
      const opened = await overlay.open(place);
      if (opened.target === undefined) await plugIn(place, opened);
      contestants.push({ overlay, opened, target: opened.target ?? place.address.b, samples: [] });
      say(`${key} is up`);
    } catch (error) {
      site.signal.throwIfAborted();
      say(`${key} is left out: ${describeError(error)}`);
    }
  }
  return contestants;
}

/** Gives the devices of both sides their addresses and waits for the first answer. */
async function plugIn({ site, mtu, device, address }: Place, { running, macs }: Opened): Promise<void> {
  const program = running[0];
  if (!program) return;
  for (const side of SIDES) {
    await until(() => succeeds(site.run(side, ['ip', 'link', 'show', device])), program);
    if (macs) await site.run(side, ['ip', 'link', 'set', device, 'address', macs[side]]);
    await site.run(side, ['ip', 'link', 'set', device, 'mtu', String(mtu), 'up']);
    await site.run(side, ['ip', 'addr', 'replace', `${address[side]}/24`, 'dev', device]);
  }
  await until(() => succeeds(site.run('a', ['ping', '-n', '-c', '1', '-W', PING_SECONDS, address.b])), program);
}

const succeeds = async (work: Promise<unknown>): Promise<boolean> =>
  work.then(
    () => true,
    () => false,
  );

export async function takeRounds(
  site: Site,
  contestants: readonly Contestant[],
  options: {
    readonly rounds: number;
    /** No round begins that would not end within this, by the longest one so far; the first always does. */
    readonly budgetMs: number;
    readonly turn: Turn;
    readonly signal: AbortSignal;
    readonly say: Say;
  },
): Promise<void> {
  const { rounds, budgetMs, turn, signal, say } = options;
  const start = performance.now();
  let longest = 0;
  for (let round = 1; round <= rounds; round++) {
    const begun = performance.now();
    if (begun - start + longest > budgetMs) break;
    for (const { overlay, opened, target, samples } of contestants) {
      const key = `${overlay.name}-${overlay.mtu}`;
      try {
        const pids = (): number[] => opened.running.map((one: Running) => one.pid);
        const sample = await (opened.turn ?? ((how: Turn) => takeTurn(site, { address: target, pids }, how)))(turn);
        samples.push(sample);
        say(`round ${round} ${key.padEnd(18)} ${megabitsText(sample.mbps)} Mbit/s`);
      } catch (error) {
        signal.throwIfAborted();
        say(`round ${round} ${key} failed: ${describeError(error)}`);
      }
    }
    longest = Math.max(longest, performance.now() - begun);
  }
}
