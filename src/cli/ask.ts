/** The owner's word, asked on the terminal: one question at a time, and one open question of each person. */
import { createInterface } from 'node:readline/promises';
import { isAbort } from '../base/errors.ts';
import type { PeerOptions } from '../peer.ts';
import { printable } from './output.ts';

/** Just below the 120 s that an initiator waits (src/job/membership.ts): a yes that comes later than that helps nobody. */
const ANSWER_MS = 110_000;

type Ask = NonNullable<PeerOptions['ask']>;
type LeaseQuestion = Parameters<Ask>[0];
type Terminal = NodeJS.ReadableStream & { readonly isTTY?: boolean };

/** Without a terminal the answer is no. So it is after the deadline, which runs from the request, not from the prompt. */
export function askHuman(options: {
  readonly terminal: Terminal;
  readonly output: NodeJS.WritableStream;
  /** Of the peer: it ends the prompt. */
  readonly signal: AbortSignal;
  readonly answerMs?: number;
}): Ask {
  const { terminal, output, signal, answerMs = ANSWER_MS } = options;
  const open = new Set<string>();
  let queue: Promise<unknown> = Promise.resolve();

  const prompt = async (text: string, until: AbortSignal): Promise<boolean> => {
    if (until.aborted) return false;
    const lines = createInterface({ input: terminal, output });
    const closed = new AbortController(); // Ctrl-D: the question alone would never settle
    lines.once('close', () => closed.abort());
    // The prompt takes the keys as they come, so Ctrl-C is not a signal meanwhile.
    lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'));
    try {
      const signals = AbortSignal.any([until, closed.signal]);
      return /^y(es)?$/i.test((await lines.question(text, { signal: signals })).trim());
    } catch (error) {
      if (!isAbort(error)) throw error;
      output.write('\n');
      return false;
    } finally {
      lines.close();
    }
  };

  return async (question) => {
    const from = question.from.split('/')[0] ?? '';
    if (!terminal.isTTY || open.has(from)) return false;
    open.add(from);
    const until = AbortSignal.any([signal, AbortSignal.timeout(answerMs)]);
    const answer = queue.then(() => prompt(wording(from, question.request), until));
    queue = answer.catch(() => {});
    try {
      return await answer;
    } finally {
      open.delete(from);
    }
  };
}

function wording(from: string, { jobName, role, memoryMiB, cpus, image }: LeaseQuestion['request']): string {
  const what = `${memoryMiB} MiB, ${cpus} cpu, image ${image.name} (${image.hash.slice(0, 12)})`;
  return `${printable(`${from} asks for a ${role} guest of job ${jobName}: ${what}. Allow?`)} [y/N] `;
}
