/** `kith ban <peer>` and `kith unban <peer>`: out of the room for good, everywhere, or allowed in again. */
import { KithError } from '../base/errors.ts';
import type { Banned } from '../control/host-api.ts';
import type { CommandContext } from './command.ts';
import { atMostWords } from './connect.ts';
import { connectToHost } from './invite.ts';
import { printable } from './output.ts';

export async function run(context: CommandContext): Promise<void> {
  const who = wordOf(context, 'kith ban ben');
  await using host = await connectToHost(context);
  const { banned, epoch, revoked } = await host.ban({ who });
  if (context.json) return context.stdout(`${JSON.stringify({ ok: true, banned, epoch, revoked })}\n`);
  context.stdout(`banned from the room, with all leases and wires:\n${lines(banned)}`);
  if (revoked.length > 0) {
    context.stdout(`the invitations that let them in are revoked, for others too: ${revoked.join(', ')}\n`);
  }
}

export async function unban(context: CommandContext): Promise<void> {
  const who = wordOf(context, 'kith unban ben');
  await using host = await connectToHost(context);
  const { unbanned, epoch } = await host.unban({ who });
  if (context.json) return context.stdout(`${JSON.stringify({ ok: true, unbanned, epoch })}\n`);
  context.stdout(`may come back, with what they have:\n${lines(unbanned)}`);
}

function wordOf(context: CommandContext, example: string): string {
  atMostWords(context, 1);
  const [who] = context.positionals;
  if (who) return who;
  throw new KithError({
    code: 'cli.usage',
    message: 'nobody given',
    hint: `a nick, account or fingerprint: ${example}; kith ps --peer host shows them`,
  });
}

const lines = (people: readonly Banned[]): string =>
  people
    .map(({ nick, account, fingerprint }) => `  ${printable(nick)}  ${printable(account)}  ${fingerprint}\n`)
    .join('');
