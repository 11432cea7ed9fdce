/** From a job and the peers that hold a lease to the plan: pure, so that `--dry-run` prints exactly what would happen. */
import { KithError } from '../base/errors.ts';
import type { Capacity } from '../protocol/capacity.ts';
import { PROTOCOL_VERSION } from '../protocol/namespaces.ts';
import {
  parsePlan,
  type ImageRef,
  type Plan,
  type PlannedGuest,
  type Rung,
  type Slot,
  type Topology,
} from '../protocol/plan.ts';
import { invalid, type Job } from './define.ts';

export const MASTER_NODE = 1;

/** Who has a place: node 1 is the initiator's own peer. */
export interface Member {
  readonly peer: string;
  readonly node: number;
}

export interface PlanFacts {
  readonly job: Job;
  readonly id: string;
  readonly revision: number;
  readonly initiator: string;
  readonly members: readonly Member[];
  readonly images: Readonly<Record<string, ImageRef>>;
  readonly wires: readonly Rung[];
  readonly masterKey: string;
}

export function makePlan(facts: PlanFacts): Plan {
  const { job, images } = facts;
  const slots = slotsOf(job, facts.id);
  const guests = facts.members
    .toSorted((a, b) => a.node - b.node)
    .map((member): PlannedGuest => {
      const slot = slots.find(({ node }) => node === member.node);
      if (!slot) throw invalid(`node ${member.node} has no place among ${slots.length}`);
      const role = member.node === MASTER_NODE ? 'master' : 'worker';
      const { image: name, memoryMiB, cpus } = job[role];
      const image = images[name];
      if (!image) throw invalid(`image ${name} is not known`);
      return { ...slot, role, peer: member.peer, memoryMiB, cpus, image };
    });
  return parsePlan({
    version: 1,
    job: { id: facts.id, name: job.name, revision: facts.revision, initiator: facts.initiator },
    lan: { id: lanId(facts.id), subnet: job.subnet, mtu: job.mtu, topology: topologyOf(job), slots },
    guests,
    wires: facts.wires,
    masterKey: facts.masterKey,
  } satisfies Plan);
}

/**
 * All places of the LAN. The MAC is arithmetic: `02:` (locally administered, IEEE 802 8.2), one byte of the job, the node, guest 0.
 * So the master guest can serve DHCP and DNS for peers that have not come yet.
 */
export function slotsOf(job: Job, id: string): Slot[] {
  const prefix = job.subnet.slice(0, job.subnet.lastIndexOf('.') + 1);
  return Array.from({ length: 1 + job.max }, (_, index) => {
    const node = MASTER_NODE + index;
    const bytes = [0x02, lanId(id) & 0xff, node >> 8, node & 0xff, 0, 0];
    return {
      name: node === MASTER_NODE ? 'master' : `worker-${index}`,
      node,
      mac: bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
      address: `${prefix}${node}`,
    };
  });
}

/** The lowest free places for newcomers; a place that became free is used again. */
export function freeNodes(job: Job, members: readonly Member[]): number[] {
  const taken = new Set(members.map(({ node }) => node));
  return Array.from({ length: job.max }, (_, index) => MASTER_NODE + 1 + index).filter((node) => !taken.has(node));
}

/** The topology of the plan in node numbers. */
export function topologyOf(job: Job): Topology {
  if (typeof job.topology === 'string') return { kind: job.topology };
  const node = (name: string): number => {
    if (name === 'master') return MASTER_NODE;
    const index = Number(/^worker-(\d{1,3})$/.exec(name)?.[1] ?? Number.NaN);
    if (!(index >= 1 && index <= job.max))
      throw invalid(`there is no guest ${name}; they are master and worker-1 to worker-${job.max}`);
    return MASTER_NODE + index;
  };
  if ('star' in job.topology) return { kind: 'star', centres: job.topology.star.map(node) };
  return { kind: 'edges', edges: job.topology.edges.map(([a, b]) => [node(a), node(b)] as const) };
}

/** u16 that tells LANs apart in batch headers, from the random job id; never 0. */
export function lanId(id: string): number {
  return (Number.parseInt(id.replaceAll('-', '').slice(0, 8), 16) % 65_535) + 1;
}

/** Why a peer cannot host a worker guest of this job, or undefined when it can. */
export function unfit(job: Job, capacity: Capacity | undefined): string | undefined {
  if (!capacity) return 'has announced no capacity';
  if (!capacity.accepts) return 'takes no guests now';
  if (capacity.protocol !== PROTOCOL_VERSION)
    return `speaks protocol ${capacity.protocol}, this is ${PROTOCOL_VERSION}`;
  if (capacity.accelerator === 'none') return 'has no QEMU';
  if (capacity.arch !== 'x86_64') return `is ${capacity.arch}, the image is x86_64`;
  if (capacity.memoryMiB < job.worker.memoryMiB)
    return `has ${capacity.memoryMiB} MiB for guests, ${job.worker.memoryMiB} are needed`;
  if (capacity.cpus < job.worker.cpus) return `has ${capacity.cpus} cpus, ${job.worker.cpus} are needed`;
  return undefined;
}

/** `others`: who was in the room and did not say yes, each with the reason. */
export const tooFew = (found: number, job: Job, others: readonly string[] = []) =>
  new KithError({
    code: 'job.too-few-peers',
    message: `job ${job.name} needs ${job.min} workers, ${found} said yes${others.length > 0 ? ` (${others.join('; ')})` : ''}`,
    hint: 'ask friends to run kith worker or kith peer in this room, or lower --min',
    retry: 'later',
  });
