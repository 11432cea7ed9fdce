/** `kith console <guest>`: its serial console on this terminal; without a terminal, lines typed and output printed. */
import { setTimeout } from 'node:timers/promises';
import { isAbort } from '../base/errors.ts';
import type { PeerApi } from '../control/api.ts';
import { followLog, tailOffset } from '../control/follow.ts';
import type { CommandContext } from './command.ts';
import { atMostWords, connectPeer, guestOf } from './connect.ts';
import { printLog } from './log-output.ts';
import { numberOption } from './options.ts';

/** About a screen: enough to see the prompt and what led to it. */
const TAIL_BYTES = 2048;

/** Ctrl-], as telnet has it: no shell or editor wants it. */
const LEAVE = 0x1d;

/** One request carries at most 8192 characters of base64. */
const PIECE_BYTES = 4096;

export async function run(context: CommandContext): Promise<void> {
  const guest = guestOf(context, 'kith console worker-1');
  atMostWords(context, 1);
  const seconds = numberOption(context, 'seconds', { max: 86_400 });
  const { stdin } = process;
  const leave = new AbortController();
  const signal = AbortSignal.any([context.signal, leave.signal]);
  await using peer = await connectPeer(context, { guest, signal });
  const offset = await tailOffset(peer, guest, TAIL_BYTES);
  if (stdin.isTTY) context.stderr(`console of ${guest}; Ctrl-] leaves\n`);
  using _raw = rawMode(stdin);
  // An unread stdin would keep the process from ending.
  signal.addEventListener('abort', () => stdin.destroy(), { once: true });

  const typing = async () => {
    await typeAll(peer, guest, stdin, stdin.isTTY);
    if (stdin.isTTY) leave.abort();
    else if (seconds !== undefined) {
      await setTimeout(seconds * 1000, undefined, { signal });
      leave.abort();
    }
  };
  const ended = (error: unknown): void => {
    const asked = signal.aborted;
    leave.abort();
    if (!asked && !isAbort(error)) throw error;
  };
  const showing = () => printLog(context, guest, followLog(peer, guest, { offset, follow: true, signal }));
  const results = await Promise.allSettled([typing().catch(ended), showing().catch(ended)]);
  if (stdin.isTTY) context.stderr('\n'); // the guest's prompt stands in the line where the shell goes on
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/** What comes while a request is under way goes out together with the next one (a stream gives all that it has). */
async function typeAll(peer: PeerApi, guest: string, source: AsyncIterable<Buffer>, terminal: boolean): Promise<void> {
  for await (const chunk of source) {
    const end = terminal ? chunk.indexOf(LEAVE) : -1;
    const keys = end < 0 ? chunk : chunk.subarray(0, end);
    for (let start = 0; start < keys.length; start += PIECE_BYTES) {
      await peer.type({ guest, data: keys.subarray(start, start + PIECE_BYTES).toString('base64') });
    }
    if (end >= 0) return;
  }
}

/** Every key goes to the guest, Ctrl-C too; the terminal is itself again afterwards. */
function rawMode(stdin: NodeJS.ReadStream): Disposable {
  if (!stdin.isTTY) return { [Symbol.dispose]() {} };
  stdin.setRawMode(true);
  return {
    [Symbol.dispose]() {
      if (!stdin.destroyed) stdin.setRawMode(false);
    },
  };
}
