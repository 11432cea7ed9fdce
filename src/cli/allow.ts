/** `kith allow <id>`: the owner's yes to a request that waits. */
import { answer } from './answer.ts';
import type { CommandContext } from './command.ts';

export const run = (context: CommandContext): Promise<number> => answer(context, true);
