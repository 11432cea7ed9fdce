/** One turn of one overlay: iperf3 both ways, then ping, with the processor time of its processes. */
import { cpuSeconds, softirqThreads } from './cpu.ts';
import { megabits, parseIperf, parsePing, type Sample, type Transfer } from './figures.ts';
import { family, until, type Site } from './site.ts';

export interface Turn {
  /** Of each direction. */
  readonly seconds: number;
  readonly pings: number;
}

/** Between two pings: as often as the round trip of the slowest allows, so that nobody's processor falls asleep in between. */
const PING_SECONDS = '0.002';
/** Beyond what was asked for. */
const SLACK_MS = 20_000;

export interface Target {
  /** The address on side b. */
  readonly address: string;
  readonly pids: () => readonly number[];
}

/** iperf3's server; it ends after one test (`-1`), so that a broken one does not spoil the next. */
async function transfer(site: Site, address: string, seconds: number, back: boolean): Promise<Transfer> {
  await using server = site.start('b', ['iperf3', '-s', '-1', '-B', address, '--forceflush']);
  await until(() => server.said().includes('listening'), server);
  const args = ['-c', address, '-t', String(seconds), '--json', '--connect-timeout', '5000', ...(back ? ['-R'] : [])];
  const text = await site.run('a', ['iperf3', ...args], seconds * 1000 + SLACK_MS);
  return parseIperf(text);
}

export async function takeTurn(site: Site, { address, pids }: Target, { seconds, pings }: Turn): Promise<Sample> {
  const kernel = softirqThreads();
  const used = (): number => cpuSeconds([...pids().flatMap(family), ...kernel]);
  const ways: Transfer[] = [];
  const before = used();
  for (const back of [false, true]) ways.push(await transfer(site, address, seconds, back));
  const cpu = used() - before;
  const gigabytes = ways.reduce((sum, { bytes }) => sum + bytes, 0) / 1e9;
  const answers = await site.run(
    'a',
    ['ping', '-n', '-i', PING_SECONDS, '-c', String(pings), '-W', '2', address],
    SLACK_MS,
  );
  return {
    mbps: ways.reduce((sum, way) => sum + megabits(way), 0) / ways.length,
    cpuPerGB: cpu / gigabytes,
    roundTrips: parsePing(answers),
  };
}
