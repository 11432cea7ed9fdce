/** `kith vouch`: an old device of yours says that a new one is yours, too, so that friends need not compare words again. */
import { KithError } from '../base/errors.ts';
import { takeVouch, vouchFor } from '../home/identity.ts';
import type { CommandContext } from './command.ts';
import { atMostWords } from './connect.ts';
import { textOption } from './options.ts';

export async function run(context: CommandContext): Promise<void> {
  atMostWords(context, 1);
  const [key] = context.positionals;
  const line = textOption(context, 'take');
  if ((key === undefined) === (line === undefined)) {
    throw new KithError({
      code: 'cli.usage',
      message: 'a key or a line is needed',
      hint: 'on the new device kith id shows the key; on the old one kith vouch KEY prints a line; on the new one kith vouch --take LINE',
    });
  }
  if (line !== undefined) {
    const by = await takeVouch(context.paths, line);
    const text = `${by} stands for this device; who trusts it trusts this one, from its next start on\n`;
    return context.stdout(context.json ? `${JSON.stringify({ ok: true, by })}\n` : text);
  }
  const vouch = await vouchFor(context.paths, key ?? '');
  context.stdout(context.json ? `${JSON.stringify({ ok: true, vouch })}\n` : `${vouch}\n`);
}
