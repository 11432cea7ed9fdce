/** Two real guests, booted by the product's own code, one per side: what a user of Kith gets in the end. */
import { describeError } from '../../../src/base/errors.ts';
import type { HostFacts } from '../../../src/guest/probe.ts';
import { generateSshKey } from '../../../src/guest/ssh-key.ts';
import type { StoredImage } from '../../../src/image/store.ts';
import { microImage } from '../../harness/guest.ts';
import { cpuSeconds, softirqThreads } from './cpu.ts';
import { megabits, parseIperf, parsePing, type Sample, type Transfer } from './figures.ts';
import { endOptions, execIn, startEnds } from './kith.ts';
import type { Turn } from './measure.ts';
import type { Opened, Overlay, Place } from './overlay.ts';
import { family } from './site.ts';

/** What an end boots in place of a tap. */
export interface GuestOrder {
  readonly image: StoredImage;
  readonly host: HostFacts;
  readonly masterKey: string;
  readonly masterPrivateKey: string;
}

const SLACK_MS = 60_000;
const BOOT_MS = 120_000;

/** The micro image is built when it is not there: outside the namespaces, which have no way to Debian's packages. */
export async function guestOverlays(say: (line: string) => void): Promise<Overlay[]> {
  try {
    const { image, host } = await microImage();
    const key = await generateSshKey();
    const order = { image, host, masterKey: key.publicKey, masterPrivateKey: key.privateKey };
    const overlay = (mtu: number): Overlay => ({
      name: 'kith-guests',
      mtu,
      kind: 'kith',
      open: (place) => open(place, order),
    });
    return [overlay(1500), overlay(9000)];
  } catch (error) {
    say(`guests are left out: ${describeError(error)}`);
    return [];
  }
}

async function open(place: Place, guest: GuestOrder): Promise<Opened> {
  const ends = await startEnds(place.site, (side) => ({ ...endOptions(place, side, 'direct'), guest }));
  const [a, b] = [ends[0]!, ends[1]!];
  const run = (end: typeof a, line: string, timeoutMs: number): Promise<string> => execIn(end, line, timeoutMs);
  await run(b, 'iperf3 -s -D', BOOT_MS);
  // The worker guest has its address by DHCP from the master guest, over the link.
  await run(a, `n=0; until ping -c 1 -W 1 ${place.address.b}; do n=$((n+1)); [ $n -lt 60 ] || exit 1; done`, BOOT_MS);
  const used = (): number => cpuSeconds([...ends.flatMap(({ pid }) => family(pid)), ...softirqThreads()]);
  const turn = async ({ seconds, pings }: Turn): Promise<Sample> => {
    const before = used();
    const ways: Transfer[] = [];
    for (const back of ['', '-R']) {
      ways.push(
        parseIperf(
          await run(a, `iperf3 -c ${place.address.b} -t ${seconds} --json ${back}`, seconds * 1000 + SLACK_MS),
        ),
      );
    }
    const cpu = used() - before;
    // Busybox's ping counts in seconds here: a shell that calls it again and again asks as often as it can.
    const answers = await run(
      a,
      `n=0; while [ $n -lt ${Math.ceil(pings / 10)} ]; do ping -c 1 ${place.address.b}; n=$((n+1)); done`,
      SLACK_MS,
    );
    return {
      mbps: ways.reduce((sum, way) => sum + megabits(way), 0) / ways.length,
      cpuPerGB: cpu / (ways.reduce((sum, { bytes }) => sum + bytes, 0) / 1e9),
      roundTrips: parsePing(answers),
    };
  };
  return { running: ends, target: place.address.b, turn };
}
