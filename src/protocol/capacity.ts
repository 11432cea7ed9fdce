/** What a peer announces in its presence: what it has, not what it promises. */
import { parser } from '../base/validate.ts';
import { PROTOCOL_VERSION } from './namespaces.ts';

export interface Capacity {
  /** `kith/0.1.0`. */
  readonly software: string;
  /** Protocol version the peer speaks. */
  readonly protocol: number;
  /** `initiator` runs a job, `worker` is headless, `peer` has a human in front of it, `host` keeps the room and its invitations. */
  readonly role: 'initiator' | 'worker' | 'peer' | 'host';
  readonly cpus: number;
  /** Memory that guests may have now, MiB. */
  readonly memoryMiB: number;
  /** Free space below the cache directory, MiB. */
  readonly diskMiB: number;
  readonly arch: 'x86_64' | 'aarch64';
  readonly accelerator: 'kvm' | 'hvf' | 'tcg' | 'none';
  /** What holds guests here: `namespaces`, `seccomp`, `cgroup`, `rlimits`, `idle`. Its own word, like all of this. */
  readonly confinement: readonly string[];
  /** Guests that run here now. */
  readonly guests: number;
  /** False: do not ask this peer for a place. */
  readonly accepts: boolean;
}

/** Of a member that lends nothing. */
export const noCapacity = (role: Capacity['role'], software: string): Capacity => ({
  software,
  protocol: PROTOCOL_VERSION,
  role,
  cpus: 0,
  memoryMiB: 0,
  diskMiB: 0,
  arch: 'x86_64',
  accelerator: 'none',
  confinement: [],
  guests: 0,
  accepts: false,
});

const count = { type: 'integer', minimum: 0, maximum: 1e9 };

const capacitySchema = {
  type: 'object',
  additionalProperties: false,
  required: [
    'software',
    'protocol',
    'role',
    'cpus',
    'memoryMiB',
    'diskMiB',
    'arch',
    'accelerator',
    'confinement',
    'guests',
    'accepts',
  ],
  properties: {
    software: { type: 'string', maxLength: 64 },
    protocol: count,
    role: { type: 'string', enum: ['initiator', 'worker', 'peer', 'host'] },
    cpus: count,
    memoryMiB: count,
    diskMiB: count,
    arch: { type: 'string', enum: ['x86_64', 'aarch64'] },
    accelerator: { type: 'string', enum: ['kvm', 'hvf', 'tcg', 'none'] },
    confinement: { type: 'array', maxItems: 16, items: { type: 'string', pattern: '^[a-z]{1,16}$' } },
    guests: count,
    accepts: { type: 'boolean' },
  },
};

export const parseCapacity = parser<Capacity>('capacity', 'protocol.capacity', capacitySchema);
