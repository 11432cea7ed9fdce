/** `kith resume [guest]`: guests that `kith pause` stopped go on. */
import type { CommandContext } from './command.ts';
import { atMostWords } from './connect.ts';
import { hold } from './hold.ts';

export function run(context: CommandContext): Promise<void> {
  atMostWords(context, 1);
  const [guest] = context.positionals;
  return hold(context, { action: 'resume', ...(guest === undefined ? {} : { guest }) });
}
