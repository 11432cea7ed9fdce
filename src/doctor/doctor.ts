/** Composition root of `kith doctor`: what is this machine worth to friends, and what keeps it from more; it changes nothing. */
import { statfs } from 'node:fs/promises';
import { freemem } from 'node:os';
import { dirname } from 'node:path';
import { readAccess } from '../home/account.ts';
import { systemClock, type Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Paths } from '../base/paths.ts';
import type { CheckContext, Machine, Subject } from './check.ts';
import { examine, type CheckReport, type Examination } from './examine.ts';
import { askQemu, guestChecks } from './guests.ts';
import { iceChecks } from './ice.ts';
import { roomChecks } from './room.ts';
import { serverChecks } from './server.ts';
import { probeConfinement } from '../guest/confinement.ts';
import { openStore } from '../image/store.ts';
import { openSession, type Session } from '../xmpp/session.ts';

export type { CheckReport, Examination };

/** From the chattiest to the quietest part of a peer's life: what a table of results is read in. */
const CHECKS = [...guestChecks, ...serverChecks, ...roomChecks, ...iceChecks];

export interface DoctorOptions {
  /** Of the configuration; what is absent comes from a saved account. */
  readonly configured: Partial<Subject>;
  readonly invitation: string | undefined;
  readonly paths: Paths;
  readonly env: NodeJS.ProcessEnv;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Each finding as it comes. */
  readonly onReport: (report: CheckReport) => void;
  readonly machine?: Partial<Machine>;
  readonly clock?: Clock;
}

export async function examineHost(options: DoctorOptions): Promise<Examination> {
  const { paths, env, log, signal, onReport, clock = systemClock } = options;
  await using stack = new AsyncDisposableStack();
  const subject = await subjectOf(options);
  const context: CheckContext = {
    ...subject,
    machine: { ...thisMachine, ...options.machine },
    paths,
    env,
    log,
    clock,
    image: once(async () => (await (await openStore(paths.cache)).list())[0]),
    host: once(() => askQemu({ paths, env, log })),
    session: once((ending: AbortSignal) => logIn(subject, { log, signal: ending, stack })),
  };
  return await examine(CHECKS, context, { signal, onReport }); // awaited: the session lives in the stack
}

async function subjectOf({ configured, invitation, paths }: DoctorOptions): Promise<Subject> {
  // As peers do it: an invitation goes before an account of the configuration.
  const saved = invitation || !configured.server ? await readAccess({ line: invitation, paths }) : undefined;
  const { server, account } = saved ?? configured;
  return {
    server,
    account,
    room: configured.room ?? saved?.room,
    createRoom: !saved && (configured.createRoom ?? false),
    iceServers: configured.iceServers ?? [],
    wireAddress: configured.wireAddress,
  };
}

async function logIn(
  { server, account }: Subject,
  options: { readonly log: Log; readonly signal: AbortSignal; readonly stack: AsyncDisposableStack },
): Promise<Session> {
  if (!server || !account) throw new TypeError('no account');
  return options.stack.use(await openSession({ ...server, ...account, log: options.log, signal: options.signal }));
}

const thisMachine: Machine = {
  now: () => Date.now(),
  // In a container the machine's free memory is not ours.
  freeMemoryMiB: () => Math.floor(Math.min(freemem(), process.availableMemory()) / 2 ** 20),
  freeDiskMiB: async (folder) => {
    const { bavail, bsize } = await statfsOfParent(folder);
    return (bavail * bsize) / 2 ** 20;
  },
  confinement: probeConfinement,
};

/** The folder may not be there yet, and a doctor makes none. */
async function statfsOfParent(folder: string): Promise<{ readonly bavail: number; readonly bsize: number }> {
  try {
    return await statfs(folder);
  } catch (error) {
    const parent = dirname(folder);
    if (parent === folder || !(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    return statfsOfParent(parent);
  }
}

/** The first call counts; all get its outcome. */
function once<A extends readonly unknown[], R>(ask: (...args: A) => Promise<R>): (...args: A) => Promise<R> {
  let answer: Promise<R> | undefined;
  return (...args) => (answer ??= ask(...args));
}
