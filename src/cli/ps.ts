/** `kith ps`: one running peer, its job, guests, links, and who is in the room; with `--links` the links alone, in full. */
import type { CommandContext } from './command.ts';
import { atMostWords, connectPeer } from './connect.ts';
import { linksText, statusText } from './status-text.ts';

export async function run(context: CommandContext): Promise<void> {
  atMostWords(context, 0);
  await using peer = await connectPeer(context);
  const status = await peer.status();
  const text = context.values['links'] ? linksText : statusText;
  context.stdout(context.json ? `${JSON.stringify(status)}\n` : text(status));
}
