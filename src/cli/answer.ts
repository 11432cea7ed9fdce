/** What `kith allow` and `kith refuse` share: one answer to one request that waits. */
import { KithError } from '../base/errors.ts';
import { findPeers } from '../control/choose.ts';
import { connectControl, type ControlClient } from '../control/client.ts';
import { socketOf } from '../control/directory.ts';
import type { CommandContext } from './command.ts';
import { atMostWords, connectPeer } from './connect.ts';
import { textOption } from './options.ts';
import { printable } from './output.ts';
import { whoText } from './request-text.ts';

export async function answer(context: CommandContext, yes: boolean): Promise<number> {
  const id = requestOf(context, `kith ${yes ? 'allow' : 'refuse'} 3f9a1c`, 0);
  atMostWords(context, 1);
  await using peer = await peerWith(context, id);
  const answered = await peer.answer({ id, yes, remember: context.values['remember'] === true });
  const { request, remembered, notRemembered } = answered;
  if (context.json) context.stdout(`${JSON.stringify({ ok: true, ...answered })}\n`);
  else {
    const who = whoText(request.question.who);
    const what = `${request.answer === 'yes' ? 'allowed' : 'refused'}: job ${printable(request.question.job)} of ${who}`;
    const why = yes && request.answer === 'no' ? `; ${request.verdict.reasons.map(printable).join('; ')}` : '';
    context.stdout(`${what}${why}\n`);
    if (remembered) context.stdout(`from now on ${remembered.rule}: ${printable(remembered.friend)}\n`);
  }
  if (notRemembered !== undefined)
    throw new KithError({
      code: 'policy.not-remembered',
      message: `the answer was given, but not remembered: ${notRemembered}`,
    });
  return request.answer === (yes ? 'yes' : 'no') ? 0 : 1;
}

export function requestOf({ positionals }: CommandContext, example: string, at: number): string {
  const id = positionals[at];
  if (id) return id;
  throw new KithError({
    code: 'cli.usage',
    message: 'no request given',
    hint: `${example}; kith requests lists them`,
  });
}

/** The peer that knows this request, where several run and none is named. */
export async function peerWith(context: CommandContext, id: string): Promise<ControlClient> {
  const { signal, paths } = context;
  const peers = textOption(context, 'peer') === undefined ? await findPeers(paths.runtime, { signal }) : [];
  if (peers.length > 1) {
    for (const { name } of peers) {
      const peer = await connectControl(socketOf(paths.runtime, name), { signal });
      const known = await peer.explain({ id }).then(
        () => true,
        () => false,
      );
      if (known) return peer;
      await peer[Symbol.asyncDispose]();
    }
  }
  return connectPeer(context);
}
