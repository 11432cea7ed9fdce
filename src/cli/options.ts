/** Options of a command as the types that they mean, or a usage error. */
import { KithError } from '../base/errors.ts';
import type { CommandContext } from './command.ts';

type Values = Pick<CommandContext, 'values'>;

export function textOption({ values }: Values, option: string): string | undefined {
  const value = values[option];
  return typeof value === 'string' ? value : undefined;
}

export function numberOption(
  context: Values,
  option: string,
  range: { readonly min?: number; readonly max?: number } = {},
): number | undefined {
  const text = textOption(context, option);
  if (text === undefined) return undefined;
  const { min = 0, max = 1_000_000_000 } = range;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new KithError({
    code: 'cli.usage',
    message: `--${option} ${text} is not a whole number from ${min} to ${max}`,
    hint: `give one, as in --${option} ${Math.max(min, 3)}`,
  });
}

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** `90s`, `30m`, `24h`, `7d` as seconds. */
export function durationOption(context: Values, option: string, maxSeconds: number): number | undefined {
  const text = textOption(context, option);
  if (text === undefined) return undefined;
  const [, count = '', unit = ''] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const seconds = Number(count) * (UNITS[unit] ?? 0);
  if (seconds >= 1 && seconds <= maxSeconds) return seconds;
  throw new KithError({
    code: 'cli.usage',
    message: `--${option} ${text} is no time from 1s to ${Math.floor(maxSeconds / 86_400)}d`,
    hint: `give seconds, minutes, hours or days, as in --${option} 24h`,
  });
}
