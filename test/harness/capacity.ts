/** What a peer announces that can host any test guest. */
import type { Capacity } from '../../src/protocol/capacity.ts';

export const CAPACITY: Capacity = {
  software: 'kith/0.1.0',
  protocol: 1,
  role: 'worker',
  cpus: 2,
  memoryMiB: 1000,
  diskMiB: 1000,
  arch: 'x86_64',
  accelerator: 'tcg',
  confinement: ['namespaces', 'seccomp', 'rlimits', 'idle'],
  guests: 0,
  accepts: true,
};
