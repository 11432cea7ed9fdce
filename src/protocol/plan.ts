/** The plan: what everybody will do, as data. Made by the initiator, checked by each worker before anything starts. */
import { KithError } from '../base/errors.ts';
import { HASH_PATTERN, MAC_PATTERN, NAME_PATTERN } from '../base/ids.ts';
import { parser } from '../base/validate.ts';
import { MAX_GUESTS } from './limits.ts';

export type Role = 'master' | 'worker';
export type Rung = 'direct' | 'webrtc' | 'stanza' | 'memory';

/** Which peers have a link. Nodes are numbers of guests' slots; the master is node 1. */
export type Topology =
  | { readonly kind: 'mesh' | 'ring' }
  /** The first of these nodes that has a guest is in the middle; not said: the master. */
  | { readonly kind: 'star'; readonly centres?: readonly number[] }
  | { readonly kind: 'edges'; readonly edges: readonly (readonly [number, number])[] };

/** An image by its hash: the digest of its manifest, which names the digest of each file. */
export interface ImageRef {
  readonly name: string;
  readonly hash: string;
  readonly bytes: number;
}

/** One guest and the peer that hosts it. One peer hosts at most one guest of a LAN: its node number is the peer's too. */
export interface PlannedGuest {
  readonly name: string;
  readonly role: Role;
  readonly node: number;
  readonly peer: string;
  readonly mac: string;
  readonly address: string;
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly image: ImageRef;
}

/** A place on the LAN, taken or free: the master guest serves DHCP and DNS for all of them from its first second. */
export interface Slot {
  readonly name: string;
  readonly node: number;
  readonly mac: string;
  readonly address: string;
  /** More than the guest is behind this port: frames from MAC addresses that nobody has are let through. */
  readonly segment?: boolean;
}

export interface Plan {
  readonly version: 1;
  readonly job: { readonly id: string; readonly name: string; readonly revision: number; readonly initiator: string };
  readonly lan: {
    /** u16, in each batch header: frames of another LAN are refused. */
    readonly id: number;
    /** `10.77.0.0/24`. */
    readonly subnet: string;
    /** Bytes of payload per frame, 1280 to 65000 (facts/dataplane.md 1: above that QEMU closes the socket). */
    readonly mtu: number;
    readonly topology: Topology;
    readonly slots: readonly Slot[];
  };
  readonly guests: readonly PlannedGuest[];
  /** Rungs that links may use, best first. */
  readonly wires: readonly Rung[];
  /** OpenSSH public key line of the master guest; every worker guest accepts it. */
  readonly masterKey: string;
}

const name = { type: 'string', pattern: NAME_PATTERN };
const node = { type: 'integer', minimum: 1, maximum: 65_000 };
const jid = { type: 'string', minLength: 3, maxLength: 1024 };
const mac = { type: 'string', pattern: MAC_PATTERN };
const address = { type: 'string', pattern: '^(\\d{1,3}\\.){3}\\d{1,3}$' };

const record = (properties: Record<string, unknown>) => ({
  type: 'object',
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
});

const slot = record({ name, node, mac, address });

export const imageRefSchema = record({
  name,
  hash: { type: 'string', pattern: HASH_PATTERN },
  bytes: { type: 'integer', minimum: 0, maximum: 1e12 },
});

export const planSchema = record({
  version: { type: 'integer', const: 1 },
  job: record({
    id: { type: 'string', minLength: 8, maxLength: 64 },
    name,
    revision: { type: 'integer', minimum: 1, maximum: 1e9 },
    initiator: jid,
  }),
  lan: record({
    id: { type: 'integer', minimum: 1, maximum: 65_535 },
    subnet: { type: 'string', pattern: '^(\\d{1,3}\\.){3}0/24$' },
    mtu: { type: 'integer', minimum: 1280, maximum: 65_000 },
    topology: {
      type: 'object',
      additionalProperties: false,
      required: ['kind'],
      properties: {
        kind: { type: 'string', enum: ['star', 'mesh', 'ring', 'edges'] },
        centres: { type: 'array', minItems: 1, maxItems: MAX_GUESTS, uniqueItems: true, items: node },
        edges: { type: 'array', maxItems: 2000, items: { type: 'array', minItems: 2, maxItems: 2, items: node } },
      },
    },
    slots: {
      type: 'array',
      maxItems: MAX_GUESTS,
      items: { ...slot, properties: { ...slot.properties, segment: { type: 'boolean' } } },
    },
  }),
  guests: {
    type: 'array',
    minItems: 1,
    maxItems: MAX_GUESTS,
    items: record({
      name,
      role: { type: 'string', enum: ['master', 'worker'] },
      node,
      peer: jid,
      mac,
      address,
      memoryMiB: { type: 'integer', minimum: 64, maximum: 1_048_576 },
      cpus: { type: 'integer', minimum: 1, maximum: 256 },
      image: imageRefSchema,
    }),
  },
  wires: {
    type: 'array',
    minItems: 1,
    maxItems: 4,
    items: { type: 'string', enum: ['direct', 'webrtc', 'stanza', 'memory'] },
  },
  masterKey: { type: 'string', pattern: '^ssh-ed25519 [A-Za-z0-9+/=]{40,120}( [ -~]{0,64})?$' },
});

const parseShape = parser<Plan>('plan', 'protocol.plan', planSchema);

/** Shape first, then what a schema cannot say: unique names, MACs and addresses, one master, edges that exist. */
export function parsePlan(value: unknown): Plan {
  const plan = parseShape(value);
  const refuse = (why: string) => {
    throw new KithError({ code: 'protocol.plan', message: `plan is not valid: ${why}`, retry: 'never' });
  };
  for (const key of ['name', 'node', 'mac', 'address'] as const) {
    for (const list of [plan.guests, plan.lan.slots]) {
      if (new Set(list.map((entry) => entry[key])).size !== list.length) refuse(`two places have the same ${key}`);
    }
  }
  if (new Set(plan.guests.map((guest) => guest.peer)).size !== plan.guests.length) refuse('one peer has two guests');
  if (plan.guests.filter((guest) => guest.role === 'master').length !== 1) refuse('there must be one master guest');
  const { topology, slots, subnet } = plan.lan;
  if ((topology.kind === 'edges') !== 'edges' in topology) refuse('edges belong to a topology of kind edges');
  if ('centres' in topology && topology.kind !== 'star') refuse('centres belong to a star');
  const known = new Map(slots.map((slot) => [slot.node, slot]));
  for (const guest of plan.guests) {
    const slot = known.get(guest.node);
    if (slot?.name !== guest.name || slot.mac !== guest.mac || slot.address !== guest.address)
      refuse(`guest ${guest.name} has no slot`);
  }
  const prefix = subnet.slice(0, subnet.lastIndexOf('.') + 1);
  for (const slot of slots) {
    const last = Number(slot.address.slice(prefix.length));
    if (!slot.address.startsWith(prefix) || !(last >= 1 && last <= 254))
      refuse(`${slot.address} is not a host of ${subnet}`);
  }
  if (topology.kind === 'star') {
    for (const centre of topology.centres ?? []) if (!known.has(centre)) refuse(`there is no node ${centre}`);
  }
  if (topology.kind === 'edges') {
    for (const [a, b] of topology.edges)
      if (a === b || !known.has(a) || !known.has(b)) refuse(`there is no link ${a} - ${b}`);
  }
  return plan;
}
