/** `kith refuse <id>`: the owner's no to a request that waits. */
import { answer } from './answer.ts';
import type { CommandContext } from './command.ts';

export const run = (context: CommandContext): Promise<number> => answer(context, false);
