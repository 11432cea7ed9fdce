/** `kith requests`: who wants to place a guest here and waits for the owner, and what became of the last ones. */
import { setTimeout } from 'node:timers/promises';
import type { ControlClient } from '../control/client.ts';
import type { CommandContext } from './command.ts';
import { atMostWords, connectPeer } from './connect.ts';
import { printable } from './output.ts';
import { requestLines } from './request-text.ts';
import { table } from './table.ts';

/** Quick enough for a person who waits with the finger on `allow`. */
const LOOK_MS = 500;
const SHOWN_DECIDED = 10;

type Requests = Awaited<ReturnType<ControlClient['requests']>>;

export async function run(context: CommandContext): Promise<void> {
  atMostWords(context, 0);
  await using peer = await connectPeer(context);
  if (context.values['follow'] === true) {
    await follow(context, peer);
    return;
  }
  const requests = await peer.requests();
  context.stdout(context.json ? `${JSON.stringify(requests)}\n` : requestsText(requests));
}

/** Each request once, when it begins to wait; ends with the signal. */
async function follow(context: CommandContext, peer: ControlClient): Promise<void> {
  const shown = new Set<string>();
  while (!context.signal.aborted) {
    try {
      const { waiting } = await peer.requests();
      for (const request of waiting.filter(({ id }) => !shown.has(id))) {
        shown.add(request.id);
        context.stdout(context.json ? `${JSON.stringify(request)}\n` : `${requestLines(request).join('\n')}\n`);
      }
      await setTimeout(LOOK_MS, undefined, { signal: context.signal });
    } catch (error) {
      if (!context.signal.aborted) throw error;
    }
  }
}

export function requestsText({ waiting, decided }: Requests): string {
  const asked = waiting.flatMap((request) => requestLines(request));
  const parts = [
    waiting.length === 0
      ? 'no request waits for an answer'
      : [...asked, '', `kith allow ${waiting[0]?.id} or kith refuse ${waiting[0]?.id} answers`].join('\n'),
  ];
  if (decided.length > 0) {
    const rows = decided
      .slice(0, SHOWN_DECIDED)
      .map(({ id, answer, by, question, verdict, times }) => [
        id,
        times > 1 ? `${answer} (${times} times)` : answer,
        by,
        printable(question.who.account),
        printable(question.job),
        printable(verdict.rule.words),
      ]);
    parts.push(table(['decided', 'answer', 'by', 'who', 'job', 'rule'], rows));
  }
  return `${parts.join('\n\n')}\n`;
}
