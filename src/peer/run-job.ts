/** Composition root of `kith run`: script, images, key, peer and job, in the order in which a person watches them. */
import { systemClock } from '../base/clock.ts';
import { KithError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { generateSshKey } from '../guest/ssh-key.ts';
import { resolveImage } from '../image/recipe.ts';
import type { Job } from '../job/define.ts';
import { drawTopology } from '../job/draw.ts';
import { startJob, type JobRun, type JobState } from '../job/initiator.ts';
import { loadJob } from '../job/load.ts';
import type { Candidate } from '../job/membership.ts';
import { makePlan, MASTER_NODE, unfit } from '../job/plan.ts';
import type { Peer } from './peer.ts';
import { welcome } from './trust.ts';
import type { ImageRef, Plan, Rung } from '../protocol/plan.ts';

const RECIPES = new URL('../../images/', import.meta.url).pathname;

export { loadJob };
export type { Job, JobState };

export interface RunOptions {
  readonly job: Job;
  readonly peer: Peer;
  readonly waitSeconds: number | undefined;
  readonly log: Log;
  readonly print: (text: string) => void;
  readonly onState: (state: JobState) => void;
  readonly signal: AbortSignal;
}

/** Command-line words that win over the script: fewer or more workers, one kind of wire. */
export function override(job: Job, words: { readonly min?: number; readonly wires?: readonly Rung[] }): Job {
  const { min = job.min, wires = job.wires } = words;
  return { ...job, min, max: Math.max(job.max, min), wires };
}

/** Builds what is missing, so that the first guest does not wait for it. */
export async function prepareImages(
  job: Job,
  peer: Pick<Peer, 'store'>,
  options: { readonly signal: AbortSignal; readonly onProgress: (text: string) => void },
): Promise<Record<string, ImageRef>> {
  const images: Record<string, ImageRef> = {};
  for (const name of new Set([job.master.image, job.worker.image])) {
    const { ref } = await resolveImage(name, { store: peer.store, recipesDir: RECIPES, ...options });
    images[name] = ref;
  }
  return images;
}

export async function runJob(images: Readonly<Record<string, ImageRef>>, options: RunOptions): Promise<JobRun> {
  const { job, peer } = options;
  const key = await generateSshKey();
  const run = startJob({
    job,
    images,
    self: { jid: peer.self, nick: peer.nick },
    masterKey: key.publicKey,
    wires: job.wires,
    ask: peer.ask,
    candidates: () => candidates(peer),
    waitSeconds: options.waitSeconds,
    clock: systemClock,
    log: options.log,
    print: options.print,
    onState: options.onState,
    signal: options.signal,
  });
  peer.privateKeys.set(run.id, key.privateKey);
  peer.job = run;
  return run;
}

/** Everybody in the room but us and whoever keeps it; who is refused or a stranger has no capacity. */
function candidates(peer: Peer): Candidate[] {
  return peer.room
    .occupants()
    .filter(({ jid }) => jid !== peer.self && welcome(peer.trust.circle.member(jid)))
    .filter(({ capacity }) => capacity?.role !== 'host')
    .map(({ jid, nick, alive, capacity }) => ({ peer: jid, nick, alive, capacity }));
}

/** What `run` would do with the room as it is now. Throws when there are too few peers. */
export async function dryRun(job: Job, peer: Peer, images: Readonly<Record<string, ImageRef>>): Promise<Plan> {
  const fit = candidates(peer).filter(({ alive, capacity }) => alive && unfit(job, capacity) === undefined);
  if (fit.length < job.min) {
    const why = candidates(peer).map(({ nick, capacity }) => `${nick} ${unfit(job, capacity) ?? 'could'}`);
    throw new KithError({
      code: 'job.too-few-peers',
      message: `job ${job.name} needs ${job.min} workers, ${fit.length} in the room could host one${why.length ? ` (${why.join('; ')})` : ''}`,
      hint: 'ask friends to run kith worker or kith peer in this room, or lower --min',
    });
  }
  const members = [
    { peer: peer.self, node: MASTER_NODE },
    ...fit.slice(0, job.max).map((each, index) => ({ peer: each.peer, node: MASTER_NODE + 1 + index })),
  ];
  return makePlan({
    job,
    id: '00000000-0000-4000-8000-000000000000',
    revision: 1,
    initiator: peer.self,
    members,
    images,
    wires: job.wires,
    masterKey: (await generateSshKey()).publicKey,
  });
}

/** The plan as `--dry-run` prints it: what would run where, and a drawing of the links. */
export function drawPlan(plan: Plan, at: Pick<Peer, 'self' | 'nick' | 'room'>): string {
  const nicks = new Map([[at.self, at.nick], ...at.room.occupants().map(({ jid, nick }) => [jid, nick] as const)]);
  const { subnet, mtu, topology } = plan.lan;
  const rows = plan.guests.map(({ name, role, mac, address, memoryMiB, image, peer }) =>
    [
      name.padEnd(10),
      role.padEnd(7),
      mac,
      address.padEnd(13),
      `${memoryMiB} MiB`.padEnd(9),
      `${image.name}@${image.hash.slice(0, 12)}`,
      nicks.get(peer) ?? peer,
    ].join('  '),
  );
  return [
    `${plan.job.name}: ${topology.kind} on ${subnet}, mtu ${mtu}, wires ${plan.wires.join(' then ')}`,
    ...rows,
    '',
    drawTopology(plan),
    '',
  ].join('\n');
}
