/** `kith limits`: what running guests of this host are held to, and `kith limits cpu 50%` to hold them to less. */
import { KithError } from '../base/errors.ts';
import type { CommandContext } from './command.ts';
import { atMostWords } from './connect.ts';
import { hold } from './hold.ts';

/** Below that a guest misses its own deadlines (what the throttle takes at least). */
const MIN_PERCENT = 5;

export function run(context: CommandContext): Promise<void> {
  atMostWords(context, 3);
  const [what, value, guest] = context.positionals;
  const only = guest === undefined ? {} : { guest };
  if (what === undefined) return hold(context, { action: 'show' });
  if (what !== 'cpu') {
    throw new KithError({
      code: 'cli.usage',
      message: `there is no limit ${what} of running guests`,
      hint: 'kith limits cpu 50%; memory, disk and the rest are set by kith policy before a guest starts',
    });
  }
  if (value === 'none') return hold(context, { action: 'cpu', ...only });
  return hold(context, { action: 'cpu', percent: percentOf(value), ...only });
}

function percentOf(text = ''): number {
  const percent = Number(/^(\d{1,3})%?$/.exec(text)?.[1]);
  if (percent >= MIN_PERCENT && percent <= 100) return percent;
  throw new KithError({
    code: 'cli.usage',
    message: text ? `${text} is no part of a processor's time` : 'no percentage given',
    hint: `a whole number from ${MIN_PERCENT} to 100 as in kith limits cpu 50%, or none`,
  });
}
