/** The stage of a demo: a chat server, an initiator and friends as separate processes on this one machine. */
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openRunDirectory } from '../base/guard.ts';
import { KithError } from '../base/errors.ts';
import { shortId } from '../base/ids.ts';
import { startChild, type Child } from '../base/process.ts';
import type { CommandContext } from './command.ts';
import { printable } from './output.ts';

const MAIN = new URL('./kith.mjs', import.meta.url).pathname;
const JOBS = new URL('../../jobs/', import.meta.url).pathname;

export interface Stage extends AsyncDisposable {
  /** Profile of the initiator, for `kith ps --peer`. */
  readonly initiator: string;
  /** Friends in the order they came: `friend-1`, … */
  readonly friends: ReadonlyMap<string, Child>;
  /** `kith run jobs/<job>.ts` by the initiator; more arguments as they are. */
  run(job: string, ...args: readonly string[]): Child;
  /** Another `kith` command of the initiator, to its end: its stdout. */
  ask(...args: readonly string[]): Promise<string>;
}

/** `rate`: bytes per second that the server takes from each connection, or `stock` for what Debian's Prosody does. */
export async function openStage(
  context: CommandContext,
  { workers, rate }: { readonly workers: number; readonly rate: string },
): Promise<Stage> {
  await using stack = new AsyncDisposableStack();
  let owned: AsyncDisposableStack = stack;
  const folder = stack.use(await openRunDirectory(tmpdir(), 'kith-demo-'));
  const invitation = join(folder.path, 'invitation');
  const tag = `demo-${shortId()}`;
  const kith = (name: string, ...args: readonly string[]) => {
    const child = startKith(context, folder.path, name, args);
    if (child.pid) folder.adopt(child.pid);
    owned.defer(async () => {
      child.kill('SIGTERM');
      await child;
    });
    return child;
  };
  const as = (name: string, nick: string) =>
    `--name ${tag}-${name} --nick ${nick} --invitation ${invitation} --wire-address 127.0.0.1`.split(' ');

  const host = kith(
    'server',
    ...`host --json --name ${tag}-host --invitation-file ${invitation} --rate ${rate}`.split(' '),
  );
  await reportOf(host, 'the server', context.signal);
  context.stderr(`a chat server and a room are up; ${workers} workers and an initiator join\n`);
  const friends = new Map<string, Child>();
  for (let index = 1; index <= workers; index++) {
    const friend = `friend-${index}`;
    await acceptRoom(join(folder.path, friend, 'config', 'kith'));
    friends.set(friend, kith(friend, 'worker', ...as(`w${index}`, friend)));
  }
  const initiator = `${tag}-run`;
  owned = stack.move();
  return {
    initiator,
    friends,
    run: (job, ...args) =>
      kith(
        'initiator',
        'run',
        `${JOBS}${job}.ts`,
        '--json',
        ...as('run', 'initiator'),
        ...`--min ${workers} --wait 120`.split(' '),
        ...args,
      ),
    async ask(...args) {
      const child = startKith(context, folder.path, 'initiator', [...args, '--peer', initiator]);
      if (child.pid) folder.adopt(child.pid);
      let text = '';
      child.stdout?.setEncoding('utf8');
      for await (const chunk of child.stdout ?? []) text += String(chunk);
      const { exitCode } = await child;
      // What a guest's command ended with is its own affair.
      if (exitCode !== 0 && args[0] !== 'exec') {
        const message = `kith ${args.join(' ')} ended with exit code ${String(exitCode)}`;
        throw new KithError({ code: 'demo.failed', message, hint: 'its messages are above' });
      }
      return text;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

interface Outcome {
  readonly ok: boolean;
  readonly error?: { readonly code: string; readonly message: string; readonly hint?: string };
}

/** The first line of JSON that a child prints. Rejects with the error that it tells, or says that it ended without a word. */
export async function reportOf<T>(child: Child, who: string, signal: AbortSignal): Promise<T> {
  const report = JSON.parse(await lineOf(child, who, signal)) as Outcome;
  if (report.ok) return report as T;
  const { code = 'demo.failed', message = 'the job failed', hint } = report.error ?? {};
  throw new KithError({ code, message, hint });
}

const KEPT = new Set(['KITH_LOG', 'KITH_BOOT_LOG']);

/** The user's room, account and limits are of no concern to a demo. */
export const withoutSettings = (env: NodeJS.ProcessEnv): Record<string, string> =>
  Object.fromEntries(
    Object.entries(env).filter(
      (entry): entry is [string, string] =>
        entry[1] !== undefined && (KEPT.has(entry[0]) || !entry[0].startsWith('KITH_')),
    ),
  );

/** All of a demo's peers belong to its one owner, who wants it to run also where nothing but QEMU holds a guest. */
async function acceptRoom(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(join(folder, 'config.json'), '{ "accept": "room" }\n');
}

/** A real `kith` process with configuration, accounts and logs of its own; images and the runtime directory are the user's. */
function startKith(context: CommandContext, folder: string, name: string, args: readonly string[]): Child {
  // The initiator tells the story; from the others only what is wrong matters.
  const level = context.env['KITH_LOG'] ?? 'warn';
  const child = startChild(process.execPath, [MAIN, ...args, '--log-level', level], {
    env: {
      ...withoutSettings(context.env),
      XDG_STATE_HOME: join(folder, name, 'state'),
      XDG_CONFIG_HOME: join(folder, name, 'config'),
    },
    extendEnv: false,
  });
  if (child.stderr)
    createInterface({ input: child.stderr }).on('line', (line) => context.stderr(`${name}: ${printable(line)}\n`));
  return child;
}

/** The first line that a child prints on stdout, or why there is none. */
async function lineOf(child: Child, who: string, signal: AbortSignal): Promise<string> {
  if (!child.stdout) throw new TypeError('the child has no stdout');
  for await (const line of createInterface({ input: child.stdout, signal })) return line;
  signal.throwIfAborted();
  const { exitCode } = await child;
  throw new KithError({
    code: 'demo.child-ended',
    message: `${who} ended with exit code ${String(exitCode)} before it was ready`,
    hint: 'its messages are above',
  });
}
