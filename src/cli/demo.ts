/** `kith demo`: a server, an initiator and some workers as separate processes on this one machine, up to the sweep of their LAN. */
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openRunDirectory } from '../base/guard.ts';
import { KithError } from '../base/errors.ts';
import { shortId } from '../base/ids.ts';
import { startChild, type Child } from '../base/process.ts';
import type { CommandContext } from './command.ts';
import { numberOption, textOption } from './options.ts';
import { printable } from './output.ts';
import { table } from './table.ts';
import { untilAborted } from './wait.ts';

const MAIN = new URL('./kith.mjs', import.meta.url).pathname;
const JOBS = new URL('../../jobs/', import.meta.url).pathname;
const TOPOLOGIES = ['mesh', 'star', 'ring'];

interface RunReport {
  readonly ok: boolean;
  readonly error?: { readonly code: string; readonly message: string; readonly hint?: string };
  readonly guests: readonly {
    readonly name: string;
    readonly role: string;
    readonly mac: string;
    readonly address: string;
    readonly peer: string;
    readonly bootSeconds?: number;
  }[];
  readonly links: readonly { readonly from: string; readonly to: string; readonly wire: string }[];
  /** Whom the initiator trusted with a guest, and why. */
  readonly peers: readonly {
    readonly nick: string;
    readonly trust: string;
    readonly because: string;
    readonly confinement?: readonly string[];
  }[];
  readonly confinement: readonly string[];
  readonly seconds: {
    readonly total: number;
    readonly rooms: number;
    readonly images: number;
    readonly guests: number;
  };
  readonly result: { readonly hosts: readonly string[]; readonly pairs: number; readonly reachable: number };
}

export async function run(context: CommandContext): Promise<number> {
  const started = performance.now();
  const topology = textOption(context, 'topology') ?? 'mesh';
  const workers = numberOption(context, 'workers', { min: 1, max: 16 }) ?? 3;
  const wire = textOption(context, 'wire');
  if (!TOPOLOGIES.includes(topology))
    throw usage(`there is no topology ${topology}`, `one of ${TOPOLOGIES.join(', ')}`);

  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await openRunDirectory(tmpdir(), 'kith-demo-'));
  const invitation = join(folder.path, 'invitation');
  const tag = `demo-${shortId()}`;
  const kith = (name: string, ...args: string[]) => {
    const child = startKith(context, folder.path, name, args);
    if (child.pid) folder.adopt(child.pid);
    stack.defer(async () => {
      child.kill('SIGTERM');
      await child;
    });
    return child;
  };

  // The stock rate of Debian's Prosody (10 kB/s a connection) when everything goes through the server: the honest case.
  const rate = wire === 'stanza' ? 'stock' : '1000000';
  const host = kith(
    'server',
    ...`host --json --name ${tag}-host --invitation-file ${invitation} --rate ${rate}`.split(' '),
  );
  const ready = JSON.parse(await lineOf(host, 'the server', context.signal)) as Pick<RunReport, 'ok' | 'error'>;
  if (!ready.ok) throw failure(ready);
  context.stderr(`a chat server and a room are up; ${workers} workers and an initiator join\n`);

  const as = (name: string, nick: string) =>
    `--name ${tag}-${name} --nick ${nick} --invitation ${invitation} --wire-address 127.0.0.1`.split(' ');
  for (let index = 1; index <= workers; index++) {
    const friend = `friend-${index}`;
    await acceptRoom(join(folder.path, friend, 'config', 'kith'));
    void kith(friend, 'worker', ...as(`w${index}`, friend));
  }
  const initiator = kith(
    'initiator',
    'run',
    `${JOBS}${topology}.ts`,
    '--json',
    ...as('run', 'initiator'),
    ...`--min ${workers} --wait 120`.split(' '),
    ...(wire ? ['--wire', wire] : []),
    ...(context.values['hold'] ? ['--hold'] : []),
  );
  const report = JSON.parse(await lineOf(initiator, 'the initiator', context.signal)) as RunReport;
  if (!report.ok) throw failure(report);

  const { hosts, pairs, reachable } = report.result;
  const expected = workers + 1;
  const ok = hosts.length === expected && reachable === pairs && pairs === expected * workers;
  const seconds = { ...report.seconds, total: Math.round((performance.now() - started) / 10) / 100 };
  if (context.json) {
    const guests = report.guests.map(({ name, role, mac, address, peer, bootSeconds }) => ({
      name,
      role,
      mac,
      address,
      peer,
      bootSeconds,
    }));
    const { peers, confinement } = report;
    const links = report.links.map(({ from, to, wire: rung }) => ({ from, to, wire: rung }));
    context.stdout(
      `${JSON.stringify({ ok, topology, guests, reachable, pairs, seconds, links, peers, confinement })}\n`,
    );
  } else {
    const rows = report.guests.map((guest) => [
      guest.name,
      guest.role,
      guest.mac,
      guest.address,
      printable(guest.peer),
      guest.bootSeconds?.toFixed(1) ?? '-',
    ]);
    context.stdout(`\n${table(['guest', 'role', 'mac', 'address', 'peer', 'boot s'], rows)}\n`);
    const trusted = report.peers.map(({ nick, trust, because, confinement = [] }) => [
      printable(nick),
      trust,
      confinement.join('+'),
      printable(because),
    ]);
    const own = ['initiator', 'self', report.confinement.join('+'), 'it runs the job'];
    context.stdout(`\n${table(['peer', 'trust', 'guest held by', 'because'], [own, ...trusted])}\n\n`);
    context.stdout(
      `${hosts.length} of ${expected} hosts in the sweep, ${reachable} of ${pairs} pairs of guests reach each other\n`,
    );
    context.stdout(
      `${Object.entries(seconds)
        .map(([what, value]) => `${what} ${value.toFixed(1)} s`)
        .join(', ')}\n`,
    );
  }
  if (context.values['hold'] && ok) {
    context.stderr(`the LAN stays up until Ctrl-C; in another terminal: npx kith ps --peer ${tag}-run\n`);
    await Promise.race([initiator, untilAborted(context.signal)]);
  }
  return ok ? 0 : 1;
}

const failure = ({ error }: Pick<RunReport, 'error'>) =>
  new KithError({ code: error?.code ?? 'demo.failed', message: error?.message ?? 'the job failed', hint: error?.hint });

const usage = (message: string, hint: string) => new KithError({ code: 'cli.usage', message, hint });

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
