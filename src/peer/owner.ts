/** Composition root of consent: the owner's policy on this machine, for a peer that runs and for commands that run without one. */
import { availableParallelism, freemem } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Paths } from '../base/paths.ts';
import { findProgram } from '../base/process.ts';
import type { PolicyView } from '../control/api.ts';
import { probeConfinement } from '../guest/confinement.ts';
import { ruleFor, setField, setFriend } from '../job/policy-edit.ts';
import { readPolicy } from '../job/policy-file.ts';
import { openPolicyStore } from '../job/policy-store.ts';
import { policyRows } from '../job/policy-view.ts';
import { defaultLimits, type Policy, type Who } from '../job/policy.ts';

export { readPolicy, setField, setFriend };

export const policyPath = (paths: Pick<Paths, 'config'>): string => join(paths.config, 'policy.json');

export type OwnerFacts = Pick<Policy, 'role' | 'confined' | 'accept' | 'limits'>;

export interface Owner extends AsyncDisposable {
  policy(): Policy;
  view(): PolicyView;
  /** Reads the file now. */
  reload(): Promise<void>;
  /** Keeps an answer as a rule in the file; it is in force when this resolves. */
  remember(who: Who, yes: boolean): Promise<{ readonly friend: string; readonly rule: string }>;
}

export async function openOwner(
  facts: OwnerFacts & { readonly paths: Paths; readonly log: Log; readonly onChange: () => void },
): Promise<Owner> {
  const path = policyPath(facts.paths);
  const store = await openPolicyStore({ path, clock: systemClock, log: facts.log, onChange: facts.onChange });
  const defaults = machineLimits();
  const policy = (): Policy => ({ ...facts, defaults, file: store.current });
  return {
    policy,
    view: () => viewOf(path, policy(), store.fault),
    reload: () => store.reload(),
    async remember(who, yes) {
      const { friend, rule } = ruleFor(who, yes);
      await setFriend(path, friend, rule);
      await store.reload();
      return { friend, rule };
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

/** The policy that a peer would begin with, when none runs. */
export async function policyWithoutPeer(
  facts: Omit<OwnerFacts, 'confined'> & { readonly paths: Paths },
): Promise<PolicyView> {
  const path = policyPath(facts.paths);
  return viewOf(
    path,
    { ...facts, confined: await isConfined(), defaults: machineLimits(), file: await readPolicy(path) },
    undefined,
  );
}

async function isConfined(): Promise<boolean> {
  const qemu = findProgram('qemu-system-x86_64', process.env);
  const findings = qemu ? await probeConfinement({ qemu }) : [];
  return findings.some(({ name, ok }) => ok && name === 'namespaces');
}

const machineLimits = () =>
  defaultLimits({ freeMemoryMiB: Math.floor(freemem() / 2 ** 20), cpus: availableParallelism() });

const viewOf = (path: string, policy: Policy, fault: string | undefined): PolicyView => ({
  path,
  role: policy.role,
  confined: policy.confined,
  ...(fault === undefined ? {} : { fault }),
  rows: policyRows(policy),
});
