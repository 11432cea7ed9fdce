/** The owner's word: which rule speaks, what no request can widen, and that the rule which is named is the one that decided. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { effectiveCaps, takesGuests, withinHours } from '../../../src/job/policy-caps.ts';
import { policyRows } from '../../../src/job/policy-view.ts';
import {
  decide,
  type LeaseQuestion,
  type Policy,
  type PolicyFile,
  type Trust,
  type Who,
  type Word,
} from '../../../src/job/policy.ts';
import { question, testPolicy } from '../../harness/consent.ts';

const NOON = new Date(2026, 10, 21, 12, 0);
const NOTHING = { memoryMiB: 0, guests: 0 };
const DEVICE = '3f2a-90c1-0011-2233-4455-6677-8899-aabb';
const who = (trust: Trust, more: Partial<Who> = {}): Who => ({ account: 'anna@x', device: DEVICE, trust, ...more });

/** A machine whose owner has set nothing. */
const bare = (changes: Partial<Policy> = {}) => testPolicy({ accept: undefined, limits: {}, ...changes });
const answer = (policy: Policy, of: Partial<LeaseQuestion> = {}, now = NOON, inUse = NOTHING) =>
  decide(question(of), policy, now, inUse);

describe('who may, when the owner has set nothing', () => {
  test.each<[Policy['role'], boolean, Trust, string]>([
    ['peer', true, 'verified', 'ask'],
    ['peer', true, 'invited', 'ask'],
    ['peer', true, 'first-sight', 'ask'],
    ['worker', true, 'verified', 'yes'],
    ['worker', true, 'vouched', 'yes'],
    ['worker', true, 'invited', 'yes'],
    ['worker', true, 'first-sight', 'no'],
    ['worker', false, 'verified', 'yes'],
    ['worker', false, 'vouched', 'no'],
    ['worker', false, 'invited', 'no'],
    ['peer', false, 'verified', 'ask'],
    ['peer', false, 'invited', 'no'],
    ['initiator', true, 'verified', 'no'],
    ['initiator', false, 'self', 'yes'],
    ['worker', false, 'self', 'yes'],
    ['host', true, 'verified', 'no'],
  ])('kith %s, confined %s, %s: %s', (role, confined, trust, expected) => {
    expect(answer(bare({ role, confined }), { who: who(trust) }).answer).toBe(expected);
  });

  test('a host without confinement says where to read more, unless its owner has decided otherwise', () => {
    const policy = bare({ role: 'worker', confined: false });
    expect(answer(policy, { who: who('invited') }).rule.words).toContain('kith doctor');
    expect(answer({ ...policy, file: { default: 'always' } }, { who: who('invited') }).answer).toBe('yes');
    expect(answer({ ...policy, accept: 'room' }, { who: who('invited') }).answer).toBe('yes');
  });
});

describe('rules of the file', () => {
  const file = (friends: Record<string, Word>, fallback?: Word): PolicyFile => ({
    friends,
    ...(fallback ? { default: fallback } : {}),
  });

  test.each<[string, PolicyFile, Who, string, string]>([
    ['a device before its account', file({ [DEVICE]: 'always', 'anna@x': 'never' }), who('verified'), 'yes', DEVICE],
    ['an account before its trust', file({ 'anna@x': 'never', verified: 'always' }), who('verified'), 'no', 'anna@x'],
    ['a trust level before the default', file({ verified: 'always' }, 'never'), who('verified'), 'yes', 'verified'],
    ['the default for the rest', file({ verified: 'always' }, 'never'), who('invited'), 'no', 'default'],
    ['an account in any case', file({ 'Anna@X': 'never' }), who('verified'), 'no', 'Anna@X'],
    [
      'the strictest of two spellings',
      file({ 'anna@x': 'always', 'ANNA@x': 'never' }),
      who('verified'),
      'no',
      'ANNA@x',
    ],
    [
      'no rule for a name of JavaScript',
      file({}, 'always'),
      who('verified', { account: '__proto__' }),
      'yes',
      'default',
    ],
    ['own devices need no rule', file({}, 'never'), who('self'), 'yes', 'by itself'],
  ])('%s', (_, policy, friend, expected, place) => {
    const verdict = answer(bare({ file: policy }), { who: friend });
    expect(verdict.answer).toBe(expected);
    expect(verdict.rule.place).toContain(place);
  });

  test('the name of an account is no proof: always means ask for a key that was only seen', () => {
    const policy = bare({ file: file({ 'anna@x': 'always' }) });
    expect(answer(policy, { who: who('first-sight') }).answer).toBe('ask');
    expect(answer({ ...policy, role: 'worker' }, { who: who('first-sight') }).answer).toBe('no');
    expect(answer(bare({ accept: ['anna@x'] }), { who: who('first-sight') }).answer).toBe('ask');
    expect(answer(bare({ file: file({ [DEVICE]: 'always' }) }), { who: who('first-sight') }).answer).toBe('yes');
  });

  test.each<[Policy['accept'], Word | undefined, string]>([
    ['room', undefined, 'yes'],
    ['room', 'never', 'no'],
    ['none', 'always', 'no'],
    ['ask', 'always', 'ask'],
    [['anna@x'], 'always', 'yes'],
    [['ben@x'], 'always', 'no'],
    [['anna@x'], 'ask', 'ask'],
  ])('accept %j with a rule %s: the stricter counts, %s', (accept, word, expected) => {
    const policy = bare({ accept, file: word ? { default: word } : {} });
    expect(answer(policy, { who: who('invited') }).answer).toBe(expected);
  });
});

describe('an author cannot widen', () => {
  const open = (caps: PolicyFile['caps'], more: Partial<Policy> = {}) =>
    bare({ accept: 'room', file: { caps: caps ?? {} }, ...more });

  test.each<[string, Policy, Partial<LeaseQuestion>, Partial<LeaseQuestion>, RegExp]>([
    ['cpus', open({ cpus: 1 }), { cpus: 1 }, { cpus: 2 }, /1 cpus a guest, 2/],
    ['memory', open({ memoryMiB: 300 }), { memoryMiB: 300 }, { memoryMiB: 301 }, /300 MiB left/],
    ['disk', open({ diskMiB: 500 }), { diskMiB: 500 }, { diskMiB: 501 }, /500 MiB of disk/],
    ['duration', open({ seconds: 3600 }), { seconds: 3600 }, { seconds: 3601 }, /lease of 3600 s/],
    ['age', open({ seconds: 3600 }), { ageSeconds: 3599 }, { ageSeconds: 3600 }, /has had the 3600 s/],
    ['the Internet', open({ internet: true }), { internet: true }, { cpus: 99 }, /cpus/],
    ['no Internet', open({}), { internet: false }, { internet: true }, /no guest reach the Internet/],
    ['flags', open({}, { limits: { cpus: 1 } }), { cpus: 1 }, { cpus: 2 }, /1 cpus/],
    ['a file below the flags', open({ cpus: 1 }, { limits: { cpus: 8 } }), { cpus: 1 }, { cpus: 2 }, /1 cpus/],
    ['flags below the file', open({ cpus: 8 }, { limits: { cpus: 1 } }), { cpus: 1 }, { cpus: 2 }, /1 cpus/],
    ['the machine', open({}), { memoryMiB: 1000 }, { memoryMiB: 1001 }, /1000 MiB left/],
  ])('%s', (_, policy, fits, doesNot, words) => {
    expect(answer(policy, fits).answer).toBe('yes');
    const verdict = answer(policy, doesNot);
    expect(verdict.answer).toBe('no');
    expect(verdict.rule.kind).toBe('cap');
    expect(verdict.rule.words).toMatch(words);
  });

  test('what others use counts, and the number of guests', () => {
    const policy = open({ memoryMiB: 300, guests: 2 });
    expect(answer(policy, { memoryMiB: 100 }, NOON, { memoryMiB: 200, guests: 1 }).answer).toBe('yes');
    expect(answer(policy, { memoryMiB: 101 }, NOON, { memoryMiB: 200, guests: 1 }).rule.words).toMatch(/100 MiB left/);
    expect(answer(policy, { memoryMiB: 1 }, NOON, { memoryMiB: 0, guests: 2 }).rule.words).toMatch(/2 guests, 2 run/);
  });

  test('the hours, but not for the owner', () => {
    const policy = open({ hours: '22:00-07:00', seconds: 60 });
    expect(answer(policy).rule).toMatchObject({ kind: 'cap', place: 'policy.json caps.hours' });
    expect(answer(policy, { seconds: 90, who: who('self') }).answer).toBe('yes');
    expect(answer(policy, { cpus: 99, who: who('self') }).answer).toBe('no');
  });

  test('a flag and the file at once: the smaller one, with its own place', () => {
    const caps = (limits: Policy['limits']) => effectiveCaps(open({ memoryMiB: 500 }, { limits })).memoryMiB;
    expect(caps({ memoryMiB: 400 })).toEqual({ value: 400, place: '--memory or limits.memoryMiB in config.json' });
    expect(caps({ memoryMiB: 600 })).toEqual({ value: 500, place: 'policy.json caps.memoryMiB' });
    expect(caps({})).toEqual({ value: 500, place: 'policy.json caps.memoryMiB' });
    expect(effectiveCaps(bare()).memoryMiB.place).toBe('default for this machine');
  });
});

test.each([
  ['09:00-17:00', '08:59', false],
  ['09:00-17:00', '09:00', true],
  ['09:00-17:00', '16:59', true],
  ['09:00-17:00', '17:00', false],
  ['22:00-07:00', '21:59', false],
  ['22:00-07:00', '22:00', true],
  ['22:00-07:00', '00:00', true],
  ['22:00-07:00', '06:59', true],
  ['22:00-07:00', '07:00', false],
  ['18:00-24:00', '23:59', true],
  ['00:00-24:00', '00:00', true],
])('within %s at %s: %s', (hours, time, expected) => {
  const [hour = 0, minute = 0] = time.split(':').map(Number);
  expect(withinHours(hours, new Date(2026, 10, 21, hour, minute))).toBe(expected);
});

test('what is announced: no place where nobody could get one', () => {
  const takes = (policy: Partial<Policy>, guests = 0) => takesGuests(bare(policy), NOON, { memoryMiB: 0, guests });
  expect(takes({})).toBe(true);
  expect(takes({}, 4)).toBe(false);
  expect(takes({ role: 'initiator' })).toBe(false);
  expect(takes({ role: 'host' })).toBe(false);
  expect(takes({ accept: 'none' })).toBe(false);
  expect(takes({ file: { default: 'never' } })).toBe(false);
  expect(takes({ file: { default: 'never', friends: { 'anna@x': 'ask' } } })).toBe(true);
  expect(takes({ file: { caps: { hours: '13:00-14:00' } } })).toBe(false);
});

test('kith policy shows each value, where it comes from, and what it does not do', () => {
  const rows = policyRows(
    bare({
      role: 'worker',
      accept: ['ben@x'],
      limits: { cpus: 1 },
      file: { friends: { 'anna@x': 'ask' }, caps: { guests: 2 } },
    }),
  );
  const row = (key: string) => rows.find((each) => each.key === key);
  expect(row('friends.anna@x')).toEqual({ key: 'friends.anna@x', value: 'ask', place: 'policy.json' });
  expect(row('accept')?.value).toBe('ben@x');
  expect(row('default')?.place).toBe('by itself');
  expect(row('caps.guests')).toMatchObject({ value: 2, place: 'policy.json caps.guests' });
  expect(row('caps.cpus')).toMatchObject({ value: 1, place: '--cpus or limits.cpus in config.json' });
  expect(row('caps.hours')).toMatchObject({ value: 'no cap', place: 'default' });
  expect(row('caps.internet')?.note).toContain('no guest has a way there');
  expect(row('caps.lan')).toMatchObject({ value: false });
});

const word = fc.constantFrom<Word>('always', 'ask', 'never');
const trust = fc.constantFrom<Trust>('self', 'verified', 'vouched', 'invited', 'first-sight');
const KEYS = [DEVICE, 'anna@x', 'Anna@x', 'ben@x', 'verified', 'vouched', 'invited', 'first-sight'];
const small = fc.integer({ min: 0, max: 8 });
const limits = fc.record({ memoryMiB: small, cpus: small, guests: small }, { requiredKeys: [] });
const hours = fc.constantFrom('22:00-07:00', '09:00-17:00', '12:00-12:01', '00:00-12:00');
const policies: fc.Arbitrary<Policy> = fc.record({
  file: fc.record(
    {
      default: word,
      friends: fc.dictionary(fc.constantFrom(...KEYS), word, { maxKeys: 5 }),
      caps: fc.record(
        {
          memoryMiB: small,
          cpus: small,
          guests: small,
          diskMiB: small,
          seconds: fc.integer({ min: 1, max: 8 }),
          hours,
          internet: fc.boolean(),
        },
        { requiredKeys: [] },
      ),
    },
    { requiredKeys: [] },
  ),
  role: fc.constantFrom<Policy['role']>('peer', 'worker', 'initiator'),
  confined: fc.boolean(),
  accept: fc.constantFrom<Policy['accept']>(undefined, 'room', 'ask', 'none', ['anna@x'], ['ben@x']),
  limits,
  defaults: fc.record({ memoryMiB: small, cpus: small, guests: small }),
});
const questions = fc
  .record({
    who: fc.record({
      account: fc.constantFrom('anna@x', 'ben@x', 'carl@x'),
      device: fc.constantFrom(DEVICE, undefined),
      trust,
    }),
    memoryMiB: small,
    cpus: small,
    diskMiB: small,
    seconds: small,
    internet: fc.boolean(),
  })
  .map((changes) => question(changes));
const uses = fc.record({ memoryMiB: small, guests: small });
/** Each is at least as strict as those before it. */
const STRICT = ['yes', 'ask', 'no'];
const RUNS = { numRuns: 3000 };

describe('for any policy and any request', () => {
  test('a yes, or a question to the owner, is within each cap', () => {
    fc.assert(
      fc.property(policies, questions, uses, (policy, asked, inUse) => {
        const { answer } = decide(asked, policy, NOON, inUse);
        if (answer === 'no') return;
        const { file, limits, defaults } = policy;
        const caps = file.caps ?? {};
        const most = (key: 'memoryMiB' | 'cpus' | 'guests') =>
          caps[key] === undefined && limits[key] === undefined
            ? defaults[key]
            : Math.min(caps[key] ?? Infinity, limits[key] ?? Infinity);
        expect(asked.memoryMiB + inUse.memoryMiB).toBeLessThanOrEqual(most('memoryMiB'));
        expect(asked.cpus).toBeLessThanOrEqual(most('cpus'));
        expect(inUse.guests + 1).toBeLessThanOrEqual(most('guests'));
        expect(asked.diskMiB).toBeLessThanOrEqual(caps.diskMiB ?? Infinity);
        expect(asked.internet && caps.internet !== true).toBe(false);
        if (asked.who.trust === 'self') return;
        expect(asked.seconds).toBeLessThanOrEqual(caps.seconds ?? Infinity);
        expect(caps.hours === undefined || withinHours(caps.hours, NOON)).toBe(true);
      }),
      RUNS,
    );
  });

  test('one more never turns no no into anything else', () => {
    fc.assert(
      fc.property(policies, questions, uses, fc.constantFrom('default', ...KEYS), (policy, asked, inUse, key) => {
        const { file } = policy;
        const stricter =
          key === 'default'
            ? { ...file, default: 'never' as const }
            : { ...file, friends: { ...file.friends, [key]: 'never' as const } };
        const [before, after] = [policy, { ...policy, file: stricter }].map(
          (each) => decide(asked, each, NOON, inUse).answer,
        );
        expect(STRICT.indexOf(after ?? 'yes')).toBeGreaterThanOrEqual(STRICT.indexOf(before ?? 'no'));
      }),
      RUNS,
    );
  });

  test('a lower cap, or a lower limit on the command line, turns no no into anything else', () => {
    fc.assert(
      fc.property(policies, questions, uses, limits, fc.boolean(), (policy, asked, inUse, lower, byFile) => {
        const now = effectiveCaps(policy);
        const least = Object.fromEntries(
          Object.entries(lower).map(([key, value]) => [key, Math.min(value, now[key as 'cpus'].value)]),
        );
        const { file } = policy;
        const stricter = byFile
          ? { ...policy, file: { ...file, caps: { ...file.caps, ...least } } }
          : { ...policy, limits: { ...policy.limits, ...least } };
        const [before, after] = [policy, stricter].map((each) => decide(asked, each, NOON, inUse).answer);
        expect(STRICT.indexOf(after ?? 'yes')).toBeGreaterThanOrEqual(STRICT.indexOf(before ?? 'no'));
      }),
      RUNS,
    );
  });

  test('the rule that is named decides: without it another one has to, and alone it is enough for a no', () => {
    fc.assert(
      fc.property(policies, questions, uses, (policy, asked, inUse) => {
        const { answer, rule } = decide(asked, policy, NOON, inUse);
        const without = withoutRule(policy, rule.place);
        if (!without) return; // what the role does by itself, or the machine: there is nothing to remove
        expect(decide(asked, without.rest, NOON, inUse).rule.place).not.toBe(rule.place);
        // For a no the rule alone is enough; for anything else its opposite makes it a no.
        const other = decide(asked, answer === 'no' ? without.alone : without.opposite, NOON, inUse);
        expect([other.answer, other.rule.place]).toEqual(['no', rule.place]);
      }),
      RUNS,
    );
  });
});

/** The policy without the rule at that place, with nothing but it, and with its opposite. */
function withoutRule(policy: Policy, place: string): { rest: Policy; alone: Policy; opposite: Policy } | undefined {
  const { file, accept } = policy;
  const lenient: Policy = {
    ...policy,
    file: {},
    accept: undefined,
    limits: {},
    defaults: { memoryMiB: Infinity, cpus: Infinity, guests: Infinity },
  };
  const only = (part: PolicyFile) => ({ ...lenient, file: part });
  const key = /friends\[(.*)\]/.exec(place)?.[1];
  if (key) {
    const name = JSON.parse(key) as string;
    const { [name]: its, ...others } = file.friends ?? {};
    return {
      rest: { ...policy, file: { ...file, friends: others } },
      alone: only({ friends: { [name]: its ?? 'ask' } }),
      opposite: { ...policy, file: { ...file, friends: { ...others, [name]: 'never' } } },
    };
  }
  if (place === 'policy.json default') {
    const { default: its, ...rest } = file;
    return {
      rest: { ...policy, file: rest },
      alone: only({ default: its ?? 'ask' }),
      opposite: { ...policy, file: { ...rest, default: 'never' } },
    };
  }
  if (place.startsWith('accept'))
    return {
      rest: { ...policy, accept: undefined },
      alone: { ...lenient, accept },
      opposite: { ...policy, accept: 'none' },
    };
  const cap = /policy\.json caps\.(\w+)/.exec(place)?.[1] as keyof NonNullable<PolicyFile['caps']> | undefined;
  if (!cap) return undefined;
  const { [cap]: its, ...others } = file.caps ?? {};
  return {
    rest: { ...policy, file: { ...file, caps: others } },
    alone: { ...only({ default: 'always', caps: { [cap]: its } }), accept: undefined },
    opposite: policy,
  };
}
