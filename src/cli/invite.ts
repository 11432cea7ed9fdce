/** `kith invite`: a link for friends from the room that this machine hosts, also as a QR code. */
import { renderUnicodeCompact } from 'uqr';
import { chooseHost } from '../control/choose.ts';
import { connectHost, type HostClient } from '../control/client.ts';
import { MAX_INVITATION_SECONDS, MAX_USES, type InvitationStatus } from '../control/host-api.ts';
import type { CommandContext } from './command.ts';
import { atMostWords } from './connect.ts';
import { durationOption, numberOption, textOption } from './options.ts';
import { printable } from './output.ts';
import { table } from './table.ts';

export async function run(context: CommandContext): Promise<void> {
  atMostWords(context, 0);
  await using host = await connectToHost(context);
  if (context.values['list']) return await list(context, host); // awaited: or the connection closes first
  const seconds = durationOption(context, 'expires', MAX_INVITATION_SECONDS) ?? 86_400;
  const uses = numberOption(context, 'uses', { min: 1, max: MAX_USES }) ?? 1;
  const nick = textOption(context, 'nick');
  const issued = await host.invite({ seconds, uses, ...(nick === undefined ? {} : { nick }) });
  const { id, link, expires } = issued;
  if (context.json) return context.stdout(`${JSON.stringify({ ok: true, ...issued })}\n`);
  // Piped or put into a file it is the link alone.
  context.stdout(`${link}\n`);
  if (!process.stdout.isTTY) return;
  const picture = renderUnicodeCompact(link, { border: 1 });
  const width = picture.indexOf('\n');
  const fits = width <= process.stdout.columns;
  context.stdout(fits ? `\n${picture}\n\n` : `\n(a QR code needs a terminal of ${width} columns)\n\n`);
  context.stdout(
    [
      `It lets ${uses === 1 ? 'one device' : `${uses} devices`} in until ${expires}. Pass it on like a password.`,
      `  your friend:  kith join -      and pastes it`,
      `  you, if it falls into wrong hands:  kith revoke ${id}`,
      '',
    ].join('\n'),
  );
}

export async function connectToHost(context: CommandContext): Promise<HostClient> {
  const { signal, paths } = context;
  const { socket } = await chooseHost(paths.runtime, textOption(context, 'peer'), { signal });
  return connectHost(socket, { signal });
}

async function list(context: CommandContext, host: HostClient): Promise<void> {
  const { invitations } = await host.invitations();
  if (context.json) return context.stdout(`${JSON.stringify({ ok: true, invitations })}\n`);
  const rows = invitations.map((each) => [
    each.id,
    each.expires,
    `${each.usedBy.length} of ${each.uses}`,
    stateOf(each),
    each.usedBy.map(printable).join(', '),
  ]);
  context.stdout(`${table(['id', 'expires', 'used', 'state', 'by'], rows)}\n`);
}

function stateOf({ revoked, expires, uses, usedBy }: InvitationStatus): string {
  if (revoked) return 'revoked';
  if (Date.parse(expires) <= Date.now()) return 'expired';
  return usedBy.length >= uses ? 'used up' : 'open';
}
