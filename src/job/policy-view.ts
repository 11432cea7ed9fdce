/** The policy in force as rows for people: each value, where it comes from, and what it does not do. Pure. */
import { effectiveCaps } from './policy-caps.ts';
import type { Policy } from './policy.ts';

export interface PolicyRow {
  readonly key: string;
  readonly value: string | number | boolean;
  /** File and field, flag, or default. */
  readonly place: string;
  readonly note?: string;
}

const CAPS = [
  'cpus',
  'memoryMiB',
  'diskMiB',
  'bandwidth',
  'guests',
  'seconds',
  'hours',
  'internet',
  'lan',
] as const satisfies readonly (keyof ReturnType<typeof effectiveCaps>)[];

const NOTES: Readonly<Partial<Record<(typeof CAPS)[number], string>>> = {
  cpus: 'of one guest',
  memoryMiB: 'of all guests together',
  diskMiB: 'growth of one working disk; 8192 where nobody says anything',
  bandwidth: 'bytes per second of all guests here; frames that only pass through for others are not counted',
  guests: 'at once',
  seconds: 'a lease, however often it is renewed',
  hours: 'local time',
  internet: 'no guest has a way there yet, whatever this says',
  lan: 'nothing opens it',
};

export function policyRows(policy: Policy): PolicyRow[] {
  const { file, accept } = policy;
  const caps = effectiveCaps(policy);
  const friends = Object.entries(file.friends ?? {}).map(([key, value]): PolicyRow => ({
    key: `friends.${key}`,
    value,
    place: 'policy.json',
  }));
  return [
    ...friends,
    file.default === undefined
      ? { key: 'default', value: byRole(policy), place: 'by itself' }
      : { key: 'default', value: file.default, place: 'policy.json' },
    ...(accept === undefined
      ? []
      : [
          {
            key: 'accept',
            value: typeof accept === 'string' ? accept : accept.join(' '),
            place: 'config.json',
            note: 'where policy.json speaks too, the stricter counts',
          },
        ]),
    ...CAPS.map((key): PolicyRow => {
      const cap = caps[key];
      const fallback = key === 'internet' || key === 'lan' ? false : 'no cap';
      const note = NOTES[key];
      return {
        key: `caps.${key}`,
        value: cap?.value ?? fallback,
        place: cap?.place ?? 'default',
        ...(note ? { note } : {}),
      };
    }),
  ];
}

function byRole({ role, confined, accept }: Policy): string {
  if (accept !== undefined) return 'as accept says';
  if (role !== 'peer' && role !== 'worker') return 'never: it lends nothing to others';
  const rest = role === 'peer' ? 'ask' : 'always for verified, vouched and invited friends, never on first sight';
  if (confined) return rest;
  const verified = role === 'peer' ? 'ask' : 'always';
  return `${verified} for verified friends, never for others: guests cannot be confined here (kith doctor)`;
}
