/** An owner for workers in tests: takes whoever asks within the limits, unless the test says otherwise. */
import type { ConsentDeps } from '../../src/job/consent-gate.ts';
import type { LeaseQuestion, Policy } from '../../src/job/policy.ts';

export const testPolicy = (changes: Partial<Policy> = {}): Policy => ({
  file: {},
  role: 'peer',
  confined: true,
  accept: 'room',
  limits: { memoryMiB: 1000, cpus: 2, guests: 4 },
  defaults: { memoryMiB: 1000, cpus: 2, guests: 4 },
  ...changes,
});

export const testConsent = (policy: Partial<Policy> = {}, changes: Partial<ConsentDeps> = {}): ConsentDeps => ({
  policy: () => testPolicy(policy),
  whoIs: (jid) => ({ account: jid.split('/')[0] ?? jid, trust: 'invited' }),
  imageSeen: async () => true,
  prompt: undefined,
  wallClock: () => new Date(2026, 10, 21, 12, 0),
  ...changes,
});

export const question = (changes: Partial<LeaseQuestion> = {}): LeaseQuestion => ({
  from: 'anna@x/1',
  who: { account: 'anna@x', trust: 'invited' },
  job: 'mesh',
  role: 'worker',
  image: { name: 'micro', hash: '0123456789abcdef'.repeat(4), bytes: 1000, seen: true },
  memoryMiB: 112,
  cpus: 1,
  diskMiB: 0,
  seconds: 0,
  internet: false,
  ...changes,
});
