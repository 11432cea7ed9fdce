/** The owner's word, asked on the terminal: one question at a time. Whoever answers elsewhere (kith allow) ends the question here. */
import { createInterface } from 'node:readline/promises';
import { isAbort } from '../base/errors.ts';
import type { PeerOptions } from '../peer/options.ts';
import { printable } from './output.ts';
import { requestLines } from './request-text.ts';

type Prompt = NonNullable<PeerOptions['prompt']>;
type Terminal = NodeJS.ReadableStream & { readonly isTTY?: boolean };

/** Without a terminal there is no answer from here; the request waits for `kith allow`. */
export function askHuman(options: {
  readonly terminal: Terminal;
  readonly output: NodeJS.WritableStream;
  /** Of the peer: it ends the prompt. */
  readonly signal: AbortSignal;
}): Prompt {
  const { terminal, output, signal } = options;
  let queue: Promise<unknown> = Promise.resolve();

  const prompt = async (text: string, settled: AbortSignal): Promise<boolean | undefined> => {
    if (signal.aborted || settled.aborted) return undefined;
    const lines = createInterface({ input: terminal, output });
    const closed = new AbortController(); // Ctrl-D: the question alone would never settle
    lines.once('close', () => closed.abort());
    // The prompt takes the keys as they come, so Ctrl-C is not a signal meanwhile.
    lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'));
    try {
      const until = AbortSignal.any([signal, settled, closed.signal]);
      return /^y(es)?$/i.test((await lines.question(text, { signal: until })).trim());
    } catch (error) {
      if (!isAbort(error) && !settled.aborted) throw error;
      output.write(settled.aborted ? `\n${printable(String(settled.reason))}\n` : '\n');
      return settled.aborted || signal.aborted ? undefined : false;
    } finally {
      lines.close();
    }
  };

  return async (request, settled) => {
    if (!terminal.isTTY) return undefined;
    const text = `${requestLines(request).join('\n')}\nAllow? (or elsewhere: kith allow ${request.id}) [y/N] `;
    const answer = queue.then(() => prompt(text, settled));
    queue = answer.catch(() => {});
    return answer;
  };
}
