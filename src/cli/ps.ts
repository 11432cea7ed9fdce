/** `kith ps`: one running peer, its job, guests, links, and who is in the room. */
import type { CommandContext } from './command.ts';
import { atMostWords, connectPeer } from './connect.ts';
import { statusText } from './status-text.ts';

export async function run(context: CommandContext): Promise<void> {
  atMostWords(context, 0);
  await using peer = await connectPeer(context);
  const status = await peer.status();
  context.stdout(context.json ? `${JSON.stringify(status)}\n` : statusText(status));
}
