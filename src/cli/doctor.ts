/** `kith doctor`: what works on this machine and with its server and room; for all else what it costs and what to do. */
import type { Log } from '../base/log.ts';
import { examineHost, type CheckReport, type Examination } from '../doctor/doctor.ts';
import type { CommandContext } from './command.ts';
import { loadConfig, serverOf } from './config.ts';
import { atMostWords } from './connect.ts';
import { EXIT } from './exit-codes.ts';
import { printable } from './output.ts';

export async function run(context: CommandContext): Promise<number> {
  atMostWords(context, 0);
  const { json, stdout, paths, env, signal } = context;
  const config = await loadConfig(context);
  // A human watches them come; files and pipes get the same order each time.
  const live = !json && process.stdout.isTTY;
  const result = await examineHost({
    configured: {
      server: config.jid === undefined ? undefined : serverOf(config.jid, config.server),
      account:
        config.jid !== undefined && config.password !== undefined
          ? { username: config.jid.split('@')[0] ?? '', password: config.password }
          : undefined,
      room: config.room,
      createRoom: config.createRoom ?? false,
      iceServers: config.iceServers ?? [],
      wireAddress: config.wireAddress,
    },
    invitation: config.invitation,
    paths,
    env,
    log: quieter(context.log),
    signal,
    onReport: (report) => {
      if (live) stdout(reportText(report));
    },
  });
  if (json) stdout(`${JSON.stringify(result)}\n`);
  else stdout(`${live ? '' : result.checks.map(reportText).join('')}\n${summary(result)}\n`);
  return result.ok ? EXIT.ok : EXIT.failed;
}

/** `fine` is one line; all else says below it what it costs and what to do. */
export function reportText({ name, state, found, cost, todo }: CheckReport): string {
  const lines = [`${state.padEnd(8)}${printable(name)}: ${printable(found)}`];
  if (cost !== undefined) lines.push(`          costs: ${printable(cost)}`);
  if (todo !== undefined) lines.push(`          to do: ${printable(todo)}`);
  return lines.map((line) => `${line}\n`).join('');
}

function summary({ checks }: Examination): string {
  const count = (wanted: CheckReport['state']) => checks.filter(({ state }) => state === wanted).length;
  return (['fine', 'weak', 'broken', 'skipped'] as const).map((state) => `${count(state)} ${state}`).join(', ');
}

/** Its own logins are no events that somebody wants to read between the findings. */
const quieter = (log: Log): Log => ({
  ...log,
  info: (event, facts) => log.debug(event, facts),
  child: (facts) => quieter(log.child(facts)),
});
