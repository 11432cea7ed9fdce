/** `kith peer`: a friend's machine in the room; a human answers lease requests. */
import type { CommandContext } from './command.ts';
import { servePeer } from './serve.ts';

export const run = (context: CommandContext): Promise<void> => servePeer(context, 'peer');
