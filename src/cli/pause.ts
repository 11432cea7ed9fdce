/** `kith pause [guest]`: guests of this host stand still until `kith resume`. */
import type { CommandContext } from './command.ts';
import { atMostWords } from './connect.ts';
import { hold } from './hold.ts';

export function run(context: CommandContext): Promise<void> {
  atMostWords(context, 1);
  const [guest] = context.positionals;
  return hold(context, { action: 'pause', ...(guest === undefined ? {} : { guest }) });
}
