/** What `kith shape` and `kith link` share: two guests named, and how their link looks. */
import { KithError } from '../base/errors.ts';
import type { LinkView } from '../control/api.ts';
import { formatBytes } from './bytes.ts';
import type { CommandContext } from './command.ts';
import { atMostWords } from './connect.ts';
import { printable } from './output.ts';
import { table } from './table.ts';

export function twoGuests(context: CommandContext, example: string): readonly [string, string] {
  atMostWords(context, 2);
  const [a, b] = context.positionals;
  if (a !== undefined && b !== undefined) return [a, b];
  throw new KithError({
    code: 'cli.usage',
    message: 'a link has two guests',
    hint: `${example}; kith ps lists the links`,
  });
}

export function printLink(context: CommandContext, { ends }: LinkView): void {
  if (context.json) {
    context.stdout(`${JSON.stringify({ ok: true, ends })}\n`);
    return;
  }
  const [a, b] = ends;
  const row = (from: LinkView['ends'][0], to: LinkView['ends'][0]) =>
    [
      `${from.guest} -> ${to.guest}`,
      from.wire,
      from.roundTripMs?.toFixed(1) ?? '-',
      formatBytes(from.sentBytes),
      String(from.drops),
      from.shape ?? '-',
      from.wires === undefined ? 'as the job says' : from.wires.join(', ') || 'none: cut',
    ].map(printable);
  context.stdout(`${table(['way', 'wire', 'rtt ms', 'sent', 'drops', 'shape', 'wires'], [row(a, b), row(b, a)])}\n`);
}
