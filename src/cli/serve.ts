/** `kith peer` and `kith worker`: in the room until told to leave. */
import type { PeerOptions } from '../peer/options.ts';
import type { CommandContext } from './command.ts';
import { launchPeer } from './launch.ts';
import { untilAborted } from './wait.ts';

export async function servePeer(context: CommandContext, role: PeerOptions['role']): Promise<void> {
  const down = new AbortController();
  const signal = AbortSignal.any([context.signal, down.signal]);
  await using peer = await launchPeer(context, role, { signal, onDown: () => down.abort() });
  const ready = { name: peer.name, jid: peer.self, nick: peer.nick, room: peer.room.jid };
  if (context.json) context.stdout(`${JSON.stringify({ ok: true, ...ready })}\n`);
  else context.stdout(`${peer.nick} is in ${peer.room.jid}; Ctrl-C leaves\n`);
  const lost = await Promise.race([untilAborted(signal), peer.closed]);
  if (lost && !signal.aborted) throw lost;
}
