/** `kith demo`: a server, an initiator and some workers as separate processes on this one machine, up to the sweep of their LAN. */
import { KithError } from '../base/errors.ts';
import type { CommandContext } from './command.ts';
import { openStage, reportOf } from './demo-stage.ts';
import { showLinks } from './demo-links.ts';
import { numberOption, textOption } from './options.ts';
import { printable } from './output.ts';
import { table } from './table.ts';
import { untilAborted } from './wait.ts';

const TOPOLOGIES = ['mesh', 'star', 'ring'];

interface RunReport {
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

  if (context.values['links']) return showLinks(context);

  // The stock rate of Debian's Prosody (10 kB/s a connection) when everything goes through the server: the honest case.
  await using stage = await openStage(context, { workers, rate: wire === 'stanza' ? 'stock' : '1000000' });
  const initiator = stage.run(
    topology,
    ...(wire ? ['--wire', wire] : []),
    ...(context.values['hold'] ? ['--hold'] : []),
  );
  const report = await reportOf<RunReport>(initiator, 'the initiator', context.signal);

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
    context.stderr(`the LAN stays up until Ctrl-C; in another terminal: npx kith ps --peer ${stage.initiator}\n`);
    await Promise.race([initiator, untilAborted(context.signal)]);
  }
  return ok ? 0 : 1;
}

const usage = (message: string, hint: string) => new KithError({ code: 'cli.usage', message, hint });
