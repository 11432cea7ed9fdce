/** An owner for workers in tests: takes whoever asks within the limits, unless the test says otherwise. */
import type { ConsentDeps } from '../../src/job/consent-gate.ts';
import type { Policy } from '../../src/job/policy.ts';

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
