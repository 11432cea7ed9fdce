/** Help texts, made from the command table. */
import type { Command } from './command.ts';
import { EXIT } from './exit-codes.ts';

const COMMON: Readonly<Record<string, string>> = {
  json: 'one line of JSON on standard output',
  'log-level': 'debug, info, warn or error (or KITH_LOG)',
  help: 'this text',
};

export function generalHelp(commands: readonly Command[]): string {
  const rows = commands.map(({ name, purpose }) => `  ${name.padEnd(12)}${purpose}`);
  const codes = Object.entries(EXIT).map(([word, code]) => `${code} ${word}`);
  return [
    'Kith: computers of people who know each other become one private Ethernet of virtual machines.',
    '',
    'kith <command> [options]',
    '',
    ...rows,
    '',
    'kith <command> --help shows options and an example.',
    `Exit codes: ${codes.join(', ')}; kith exec gives the code of the guest's command.`,
    '',
  ].join('\n');
}

export function commandHelp({ name, purpose, usage, example, options, optionHelp }: Command): string {
  const row = (option: string, help: string, value: boolean) =>
    `  --${(option + (value ? ' …' : '')).padEnd(18)}${help}`;
  return [
    `kith ${name}${usage ? ` ${usage}` : ''}: ${purpose}`,
    '',
    ...Object.entries(optionHelp).map(([option, help]) => row(option, help, options[option]?.type === 'string')),
    ...Object.entries(COMMON).map(([option, help]) => row(option, help, option === 'log-level')),
    '',
    `example: ${example}`,
    '',
  ].join('\n');
}

/** The word that is at most two typing errors away, if there is one (Levenshtein distance). */
export function nearest(word: string, words: readonly string[]): string | undefined {
  const [best] = words
    .map((candidate) => ({ candidate, far: distance(word, candidate) }))
    .toSorted((a, b) => a.far - b.far);
  return best && best.far <= 2 ? best.candidate : undefined;
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, letter] of a.split('').entries()) {
    const next = [i + 1];
    for (const [j, other] of b.split('').entries()) {
      next.push(Math.min((next[j] ?? 0) + 1, (row[j + 1] ?? 0) + 1, (row[j] ?? 0) + (letter === other ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
