/** `kith revoke <id|link>`: an invitation lets nobody new in any more. */
import { readFile } from 'node:fs/promises';
import { KithError } from '../base/errors.ts';
import type { CommandContext } from './command.ts';
import { atMostWords } from './connect.ts';
import { connectToHost } from './invite.ts';
import { textOption } from './options.ts';

export async function run(context: CommandContext): Promise<void> {
  atMostWords(context, 1);
  const file = textOption(context, 'file');
  const which = file === undefined ? context.positionals[0] : (await readFile(file, 'utf8')).trim();
  if (!which)
    throw new KithError({
      code: 'cli.usage',
      message: 'no invitation given',
      hint: 'kith invite --list shows their ids',
    });
  await using host = await connectToHost(context);
  const { id } = await host.revoke({ which });
  context.stdout(
    context.json
      ? `${JSON.stringify({ ok: true, id })}\n`
      : `invitation ${id} is revoked; who came in by it stays (kith ban puts people out)\n`,
  );
}
