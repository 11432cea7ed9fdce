/** What `kith pause`, `resume` and `limits` share: the owner's hand on guests of this host, and what it came to. */
import type { ControlClient } from '../control/client.ts';
import type { CommandContext } from './command.ts';
import { connectPeer } from './connect.ts';
import { table } from './table.ts';

type Change = Parameters<ControlClient['hold']>[0];

export async function hold(context: CommandContext, change: Change): Promise<void> {
  const { guest } = change;
  await using peer = await connectPeer(context, guest === undefined ? {} : { guest });
  const { guests } = await peer.hold(change);
  if (context.json) {
    context.stdout(`${JSON.stringify({ ok: true, guests })}\n`);
    return;
  }
  const rows = guests.map(({ guest, paused, cpuPercent }) => [
    guest,
    paused ? 'paused' : 'running',
    cpuPercent === undefined ? 'no cap' : `${cpuPercent}%`,
  ]);
  context.stdout(rows.length === 0 ? 'no guest runs here\n' : `${table(['guest', 'state', 'cpu'], rows)}\n`);
}
