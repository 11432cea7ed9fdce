/** `kith contacts`: which keys this home knows, whose they are, and why it trusts them. */
import { contactsOf } from '../home/identity.ts';
import type { CommandContext } from './command.ts';
import { atMostWords } from './connect.ts';
import { printable } from './output.ts';
import { table } from './table.ts';

export async function run(context: CommandContext): Promise<void> {
  atMostWords(context, 0);
  const contacts = await contactsOf(context.paths);
  if (context.json) return context.stdout(`${JSON.stringify({ ok: true, contacts })}\n`);
  if (contacts.length === 0) return context.stdout('nobody yet; kith join or kith invite\n');
  const rows = contacts.map(({ nick, account, pin, because, since, fingerprint }) => [
    printable(nick),
    printable(account),
    pin,
    printable(because),
    since.slice(0, 10),
    fingerprint,
  ]);
  context.stdout(`${table(['nick', 'account', 'trust', 'because', 'since', 'device'], rows)}\n`);
}
