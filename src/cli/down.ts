/** `kith down`: ends a running peer and returns when nothing of it is left. */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { errorCode, KithError } from '../base/errors.ts';
import { choosePeer } from '../control/choose.ts';
import { connectControl } from '../control/client.ts';
import type { CommandContext } from './command.ts';
import { atMostWords } from './connect.ts';
import { textOption } from './options.ts';

/** Guests stop, leases go back, the room is left: seconds. A minute means that something hangs. */
const DEADLINE_MS = 60_000;
const LOOK_MS = 100;

export async function run(context: CommandContext): Promise<void> {
  atMostWords(context, 0);
  const { signal } = context;
  const { name, socket } = await choosePeer(context.paths.runtime, textOption(context, 'peer'), { signal });
  await askToEnd(socket, signal);
  await untilGone(name, dirname(socket), signal);
  context.stdout(context.json ? `${JSON.stringify({ ok: true, name })}\n` : `${name} has ended\n`);
}

async function askToEnd(socket: string, signal: AbortSignal): Promise<void> {
  try {
    await using peer = await connectControl(socket, { signal });
    await peer.down();
  } catch (error) {
    if (errorCode(error) !== 'control.peer-gone') throw error; // it went before it could answer: what we wanted
  }
}

/** A peer removes its directory last. */
async function untilGone(name: string, directory: string, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (existsSync(directory)) {
    if (performance.now() > deadline) {
      throw new KithError({
        code: 'control.still-there',
        message: `${name} was told to end ${DEADLINE_MS / 1000} s ago and is still there`,
        hint: 'look at its log, or end its process',
        retry: 'later',
      });
    }
    await setTimeout(LOOK_MS, undefined, { signal });
  }
}
