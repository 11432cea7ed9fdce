/** `kith logs <guest>`: what the guest printed on its console, and with --follow what it goes on to print. */
import { followLog } from '../control/follow.ts';
import type { CommandContext } from './command.ts';
import { atMostWords, connectPeer, guestOf } from './connect.ts';
import { printLog } from './log-output.ts';

export async function run(context: CommandContext): Promise<void> {
  const guest = guestOf(context, 'kith logs worker-1');
  atMostWords(context, 1);
  await using peer = await connectPeer(context, { guest });
  await printLog(
    context,
    guest,
    followLog(peer, guest, { follow: context.values['follow'] === true, signal: context.signal }),
  );
}
