/** What a LAN costs while nobody uses it: what an idle link says, the memory of a link, routes of 200 peers. */
import type { IdleMessage, IdleReply } from './idle-process.ts';
import { failed, SIDES, startTied, underlayBytes, type Running, type Site } from './site.ts';
import type { Cost } from './table.ts';

const IDLE = new URL('./idle-process.ts', import.meta.url).pathname;
const ROUTING = new URL('../routing.ts', import.meta.url).pathname;
const LINKS = 20;
const UP_MS = 60_000;
/** A link counts as used for 10 s after its last frame; then its hellos become rare. */
const CALM_MS = 12_000;
/** Several of the rare hellos. */
const LISTEN_MS = 20_000;

const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), reject(signal.reason as Error)), { once: true });
  });

/** The overlays must be gone by now: the veth carries what they say, too. */
export async function controlCosts(site: Site, say: (line: string) => void): Promise<Cost[]> {
  const costs: Cost[] = [];
  for (const rung of ['direct', 'webrtc'] as const) {
    say(`${LINKS} idle links, ${rung}`);
    costs.push(...(await idleLinks(site, rung)));
  }
  costs.push({ what: 'routes of 200 peers', value: `\n${await routing()}` });
  return costs;
}

async function idleLinks(site: Site, rung: 'direct' | 'webrtc'): Promise<Cost[]> {
  const ends = SIDES.map((side) => site.start(side, [process.execPath, '--expose-gc', IDLE], { ipc: true }));
  for (const [i, end] of ends.entries()) {
    end.child.on('message', (reply: IdleReply) => {
      if (reply.kind === 'signal') ends[1 - i]?.child.send(reply satisfies IdleMessage);
    });
  }
  const all = async (message: (i: number) => IdleMessage): Promise<number> => {
    const resident = await Promise.all(ends.map((end, i) => ask(end, message(i))));
    return resident.reduce((sum, bytes) => sum + bytes, 0) / ends.length;
  };
  try {
    await all((i) => ({ kind: 'open', side: SIDES[i]!, rung }));
    // The first link brings libraries and code with it.
    const one = await all(() => ({ kind: 'links', count: 1 }));
    const many = await all(() => ({ kind: 'links', count: LINKS + 1 }));
    await sleep(CALM_MS, site.signal);
    const before = await underlayBytes(site);
    await sleep(LISTEN_MS, site.signal);
    const bytes = (await underlayBytes(site)) - before;
    return [
      { what: `idle ${rung} link, both ways on the wire`, value: `${rate(bytes / (LINKS + 1))} bytes/s` },
      { what: `memory of one more ${rung} link`, value: `${Math.round((many - one) / LINKS / 1024)} KiB` },
    ];
  } finally {
    await Promise.all(ends.map((end) => end[Symbol.asyncDispose]()));
  }
}

const rate = (bytes: number): number => Math.round(bytes / (LISTEN_MS / 1000));

async function ask(end: Running, message: IdleMessage): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const timer = setTimeout(() => reject(failed(['idle links'], 'they do not come up', end.said())), UP_MS);
  const listen = (reply: IdleReply): void => {
    if (reply.kind === 'up') resolve(reply.residentBytes);
  };
  end.child.on('message', listen);
  void end.exited.then((why) => reject(failed(['idle links'], why, end.said())));
  end.child.send(message);
  return promise.finally(() => {
    clearTimeout(timer);
    end.child.off('message', listen);
  });
}

async function routing(): Promise<string> {
  await using one = startTied([process.execPath, '--expose-gc', ROUTING], {});
  const why = await one.exited;
  if (why !== 'exit code 0') throw failed([ROUTING], why, one.said());
  return one.said().trimEnd();
}
