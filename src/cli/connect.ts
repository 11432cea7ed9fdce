/** From `--peer`, or the lack of it, to a running peer that answers. */
import { KithError } from '../base/errors.ts';
import { choosePeer } from '../control/choose.ts';
import { connectControl, type ControlClient } from '../control/client.ts';
import type { CommandContext } from './command.ts';
import { textOption } from './options.ts';

export async function connectPeer(
  context: CommandContext,
  options: { readonly guest?: string; readonly signal?: AbortSignal } = {},
): Promise<ControlClient> {
  const { guest, signal = context.signal } = options;
  const { socket } = await choosePeer(context.paths.runtime, textOption(context, 'peer'), { guest, signal });
  return connectControl(socket, { signal });
}

/** The first word after the command, which names a guest. */
export function guestOf(context: CommandContext, example: string): string {
  const [guest] = context.positionals;
  if (guest) return guest;
  throw new KithError({ code: 'cli.usage', message: 'no guest given', hint: `${example}; kith ps lists the guests` });
}

/** For commands that take no more words than `count`: a forgotten `--` or a typing error must not be passed over. */
export function atMostWords(context: CommandContext, count: number): void {
  const extra = context.positionals[count];
  if (extra === undefined) return;
  throw new KithError({
    code: 'cli.usage',
    message: `unexpected word ${extra}`,
    hint: 'add --help to see what the command takes',
  });
}
