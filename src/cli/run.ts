/** `kith run <job.ts>`: the initiator. Its machine also carries the master guest. */
import { KithError } from '../base/errors.ts';
import { MAX_GUESTS } from '../protocol/limits.ts';
import type { Rung } from '../protocol/plan.ts';
import {
  drawPlan,
  dryRun,
  loadJob,
  override,
  prepareImages,
  runJob,
  type Job,
  type JobState,
} from '../peer/run-job.ts';
import type { Peer } from '../peer/peer.ts';
import type { CommandContext } from './command.ts';
import { launchPeer } from './launch.ts';
import { numberOption, textOption } from './options.ts';
import { printable } from './output.ts';
import { trustTable } from './status-text.ts';
import { table } from './table.ts';
import { untilAborted } from './wait.ts';

/** One place of the LAN is the master's. */
const MAX_WORKERS = MAX_GUESTS - 1;

export async function run(context: CommandContext): Promise<number> {
  const started = performance.now();
  const [file] = context.positionals;
  if (!file) throw new KithError({ code: 'cli.usage', message: 'no job script given', hint: 'kith run jobs/mesh.ts' });
  const job = override(await loadJob(file), wordsOf(context));
  const down = new AbortController();
  const signal = AbortSignal.any([context.signal, down.signal]);
  await using peer = await launchPeer(context, 'initiator', { signal, onDown: () => down.abort() });
  const roomsAt = performance.now();
  const images = await prepareImages(job, peer, { signal, onProgress: (text) => say(context, text) });
  const imagesAt = performance.now();
  if (context.values['dry-run']) {
    const plan = await dryRun(job, peer, images);
    context.stdout(context.json ? `${JSON.stringify({ ok: true, plan })}\n` : clean(drawPlan(plan, peer)));
    return 0;
  }

  say(context, progress.waiting(job));
  let readyAt = imagesAt;
  const onState = (state: JobState) => {
    if (state === 'ready') readyAt = performance.now();
    say(context, progress[state](job));
  };
  await using work = await runJob(images, {
    job,
    peer,
    waitSeconds: numberOption(context, 'wait'),
    log: context.log,
    print: (text) => (context.json ? say : sayOut)(context, text.trim()),
    onState,
    signal,
  });
  const lost = peer.closed.then((error): never => {
    throw error ?? new KithError({ code: 'run.room-lost', message: 'the room was left' });
  });
  lost.catch(() => {});
  const ended = untilAborted(down.signal).then((): never => {
    throw new KithError({ code: 'run.down', message: 'kith down ended the job before its script was done' });
  });
  ended.catch(() => {});
  const result = await Promise.race([ended, lost, work.result]);
  const status = await peer.status();
  const seconds = {
    total: secondsBetween(started, performance.now()),
    rooms: secondsBetween(started, roomsAt),
    images: secondsBetween(roomsAt, imagesAt),
    guests: secondsBetween(imagesAt, readyAt),
  };
  const report = {
    ok: true,
    job: job.name,
    topology: topologyName(job),
    guests: status.guests,
    links: status.links,
    peers: status.occupants
      .filter(({ nick }) => status.guests.some((guest) => guest.peer === nick))
      .map(({ nick, trust, because, device, confinement }) => ({ nick, trust, because, device, confinement })),
    confinement: status.peer.confinement,
    seconds,
    result: result ?? null,
  };
  if (!context.json) context.stdout(summary(peer, status, seconds));
  if (context.json) context.stdout(`${JSON.stringify(report)}\n`);
  if (context.values['hold']) {
    say(context, 'the LAN stays up; Ctrl-C or kith down ends it');
    await Promise.race([untilAborted(signal), lost]);
  }
  return 0;
}

const progress: Record<JobState, (job: Job) => string> = {
  waiting: (job) => `waiting for ${job.min} workers`,
  starting: () => 'guests start',
  running: () => 'script runs',
  ready: () => 'all guests answer on the LAN',
  ending: () => 'giving everything back',
};

const topologyName = (job: Job) => (typeof job.topology === 'string' ? job.topology : 'edges');
const secondsBetween = (from: number, to: number) => Math.round((to - from) / 10) / 100;
const sayOut = (context: CommandContext, text: string) => context.stdout(`${clean(text)}\n`);
/** Texts of other machines pass here too; a job's own lines stay lines. */
const clean = (text: string) => text.split('\n').map(printable).join('\n');
const say = (context: CommandContext, text: string) => context.stderr(`${clean(text)}\n`);

function summary(peer: Peer, status: Awaited<ReturnType<Peer['status']>>, seconds: Record<string, number>): string {
  const guests = status.guests.map((guest) => [
    guest.name,
    guest.role,
    guest.mac,
    guest.address,
    printable(guest.peer),
    guest.bootSeconds?.toFixed(1) ?? '-',
  ]);
  return `${table(['guest', 'role', 'mac', 'address', 'peer', 'boot s'], guests)}\n\n${trustTable(status, peer.nick)}\n${peer.nick}: ${Object.entries(
    seconds,
  )
    .map(([what, value]) => `${what} ${value.toFixed(1)} s`)
    .join(', ')}\n`;
}

function wordsOf(context: CommandContext): { readonly min?: number; readonly wires?: readonly Rung[] } {
  const min = numberOption(context, 'min', { max: MAX_WORKERS });
  const wire = textOption(context, 'wire');
  if (wire !== undefined && !isRung(wire)) {
    throw new KithError({
      code: 'cli.usage',
      message: `there is no wire ${wire}`,
      hint: `one of ${RUNGS.join(', ')}`,
    });
  }
  return { ...(min === undefined ? {} : { min }), ...(wire === undefined ? {} : { wires: [wire] }) };
}

const RUNGS = ['direct', 'webrtc', 'stanza'] as const;
const isRung = (word: string): word is (typeof RUNGS)[number] => (RUNGS as readonly string[]).includes(word);
