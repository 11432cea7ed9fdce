/** `kith worker`: a headless machine in the room (the thesis's slave node), under its owner's policy alone. */
import type { CommandContext } from './command.ts';
import { servePeer } from './serve.ts';

export const run = (context: CommandContext): Promise<void> => servePeer(context, 'worker');
