/** How much a guest may have: the caps that hold, where each comes from, and which of them a request breaks. Pure. */
import type { Caps, LeaseQuestion, Limits, Policy, Rule, Use } from './policy.ts';

export interface Cap<T> {
  readonly value: T;
  /** Where the owner finds it. */
  readonly place: string;
}

export type EffectiveCaps = { readonly [K in keyof Caps]?: Cap<NonNullable<Caps[K]>> } & {
  readonly [K in keyof Limits]: Cap<number>;
};

/** Where a limit of the configuration is set. */
const LIMIT_PLACES: Readonly<Record<keyof Limits, string>> = {
  memoryMiB: '--memory or limits.memoryMiB in config.json',
  cpus: '--cpus or limits.cpus in config.json',
  guests: 'limits.guests in config.json',
};

const FILE_ONLY = ['diskMiB', 'bandwidth', 'seconds', 'hours', 'internet', 'lan'] as const;

export function effectiveCaps({ file, limits, defaults }: Pick<Policy, 'file' | 'limits' | 'defaults'>): EffectiveCaps {
  const caps = file.caps ?? {};
  const limit = (key: keyof Limits): Cap<number> => {
    const [byFile, byConfig] = [caps[key], limits[key]];
    if (byFile !== undefined && (byConfig === undefined || byFile <= byConfig))
      return { value: byFile, place: `policy.json caps.${key}` };
    if (byConfig !== undefined) return { value: byConfig, place: LIMIT_PLACES[key] };
    return { value: defaults[key], place: 'default for this machine' };
  };
  const rest = FILE_ONLY.flatMap((key) =>
    caps[key] === undefined ? [] : [[key, { value: caps[key], place: `policy.json caps.${key}` }]],
  );
  return {
    memoryMiB: limit('memoryMiB'),
    cpus: limit('cpus'),
    guests: limit('guests'),
    ...(Object.fromEntries(rest) as Pick<EffectiveCaps, (typeof FILE_ONLY)[number]>),
  };
}

interface Circumstances {
  readonly now: Date;
  readonly inUse: Use;
}

type Check<T> = (value: T, question: LeaseQuestion, at: Circumstances) => string | undefined;

/** Each cap's own way to say no. What no request can break (bandwidth, lan) is enforced elsewhere and has no line. */
const CHECKS: { readonly [K in keyof Caps]?: Check<NonNullable<Caps[K]>> } = {
  guests: (most, _, { inUse }) =>
    inUse.guests + 1 > most ? `the owner allows ${most} guests, ${inUse.guests} run` : undefined,
  cpus: (most, { cpus }) => (cpus > most ? `the owner allows ${most} cpus a guest, ${cpus} were asked for` : undefined),
  memoryMiB: (most, { memoryMiB }, { inUse }) =>
    memoryMiB > most - inUse.memoryMiB
      ? `not enough memory: ${Math.max(0, most - inUse.memoryMiB)} MiB left for guests, ${memoryMiB} were asked for`
      : undefined,
  diskMiB: (most, { diskMiB }) =>
    diskMiB > most ? `the owner allows ${most} MiB of disk a guest, ${diskMiB} were asked for` : undefined,
  seconds: (most, { seconds, ageSeconds = 0, who }) => {
    if (who.trust === 'self') return undefined;
    if (ageSeconds >= most) return `the lease has had the ${most} s that the owner allows`;
    return seconds > most ? `the owner allows a lease of ${most} s, ${seconds} were asked for` : undefined;
  },
  hours: (hours, { who }, { now }) =>
    who.trust !== 'self' && !withinHours(hours, now) ? `the owner allows guests only at ${hours}` : undefined,
};

export function capFaults(question: LeaseQuestion, policy: Policy, now: Date, inUse: Use): Rule[] {
  const caps = effectiveCaps(policy);
  const faults = (Object.keys(CHECKS) as (keyof typeof CHECKS)[]).flatMap((key): Rule[] => {
    const cap = caps[key];
    // A check takes the value of its own cap; TypeScript cannot follow the pair through the union.
    const words = cap && (CHECKS[key] as Check<unknown>)(cap.value, question, { now, inUse });
    return cap && words ? [{ place: cap.place, words, kind: 'cap' }] : [];
  });
  if (!question.internet || caps.internet?.value === true) return faults;
  const place = caps.internet?.place ?? 'default: guests do not reach the Internet';
  return [...faults, { place, words: 'the owner lets no guest reach the Internet', kind: 'cap' }];
}

/** `22:00-07:00` goes over midnight; the end does not belong to it. Local time, as clocks on the wall. */
export function withinHours(hours: string, now: Date): boolean {
  const [from = 0, to = 0] = hours.split('-').map(minutesOf);
  const minute = now.getHours() * 60 + now.getMinutes();
  return from < to ? minute >= from && minute < to : minute >= from || minute < to;
}

function minutesOf(time: string): number {
  const [hour = 0, minute = 0] = time.split(':').map(Number);
  return hour * 60 + minute;
}

/** Whether a request of anybody at all could get a place now; what peers announce. */
export function takesGuests(policy: Policy, now: Date, inUse: Use): boolean {
  const { file, role, accept } = policy;
  const { guests, hours } = effectiveCaps(policy);
  const friends = Object.values(file.friends ?? {});
  const nobody = accept === 'none' || (file.default === 'never' && friends.every((word) => word === 'never'));
  return (
    (role === 'peer' || role === 'worker') &&
    !nobody &&
    inUse.guests < guests.value &&
    (hours === undefined || withinHours(hours.value, now))
  );
}
