/** The plan: pure, complete, and refused when it says something impossible. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkJob, type JobDefinition } from '../../../src/job/define.ts';
import { freeNodes, lanId, makePlan, slotsOf, topologyOf, unfit } from '../../../src/job/plan.ts';
import type { Capacity } from '../../../src/protocol/capacity.ts';
import { parsePlan, type Plan } from '../../../src/protocol/plan.ts';
import { CAPACITY } from '../../harness/capacity.ts';

const ID = '0f8fad5b-d9cb-469f-a165-70867728950e';
const IMAGE = { name: 'micro', hash: 'a'.repeat(64), bytes: 1000 };
const KEY = `ssh-ed25519 ${'A'.repeat(68)}`;
const job = (changes: Partial<JobDefinition> = {}) => checkJob({ name: 'mesh', topology: 'mesh', ...changes });

const planFor = (count: number, changes: Partial<JobDefinition> = {}): Plan =>
  makePlan({
    job: job(changes),
    id: ID,
    revision: 1,
    initiator: 'p1@x/a',
    members: Array.from({ length: count }, (_, index) => ({ peer: `p${index + 1}@x/a`, node: index + 1 })),
    images: { micro: IMAGE },
    wires: ['webrtc', 'stanza'],
    masterKey: KEY,
  });

describe('plan', () => {
  test('gives each member a guest, the initiator the master guest', () => {
    const plan = planFor(4);
    expect(plan.guests.map(({ name, role, address }) => [name, role, address])).toEqual([
      ['master', 'master', '10.77.0.1'],
      ['worker-1', 'worker', '10.77.0.2'],
      ['worker-2', 'worker', '10.77.0.3'],
      ['worker-3', 'worker', '10.77.0.4'],
    ]);
  });

  test('has a slot for each guest that may still come, all different', () => {
    fc.assert(
      fc.property(fc.uuid(), fc.integer({ min: 0, max: 199 }), (id, max) => {
        const slots = slotsOf(job({ worker: { min: 0, max } }), id);
        expect(slots).toHaveLength(max + 1);
        expect(new Set(slots.map(({ mac }) => mac)).size).toBe(max + 1);
        expect(new Set(slots.map(({ address }) => address)).size).toBe(max + 1);
        expect(lanId(id)).toBeGreaterThanOrEqual(1);
        expect(lanId(id)).toBeLessThanOrEqual(65_535);
      }),
    );
  });

  test('uses a freed place again, lowest first', () => {
    expect(
      freeNodes(
        job({ worker: { max: 4 } }),
        [1, 2, 4].map((node) => ({ peer: `p${node}`, node })),
      ),
    ).toEqual([3, 5]);
  });

  test('turns named edges into node numbers and refuses unknown names', () => {
    const custom = (edges: [string, string][]) => topologyOf(job({ topology: { edges }, worker: { max: 2 } }));
    expect(custom([['master', 'worker-2']])).toEqual({ kind: 'edges', edges: [[1, 3]] });
    expect(() => custom([['master', 'worker-3']])).toThrow(/no guest worker-3/);
  });

  test('turns the named centres of a star into node numbers', () => {
    const star = (...names: string[]) => planFor(3, { topology: { star: names } }).lan.topology;
    expect(star('worker-2', 'worker-1')).toEqual({ kind: 'star', centres: [3, 2] });
    expect(() => star('worker-99')).toThrow('there is no guest worker-99');
    expect(() => star()).toThrow('job is not valid');
    const plan = planFor(3);
    const withTopology = (topology: object) => parsePlan({ ...plan, lan: { ...plan.lan, topology } });
    expect(() => withTopology({ kind: 'ring', centres: [1] })).toThrow('centres belong to a star');
    expect(() => withTopology({ kind: 'star', centres: [99] })).toThrow('there is no node 99');
  });

  test('survives a round trip through JSON and validation', () => {
    const plan = planFor(3, {
      topology: {
        edges: [
          ['master', 'worker-1'],
          ['worker-1', 'worker-2'],
        ],
      },
    });
    expect(parsePlan(JSON.parse(JSON.stringify(plan)))).toEqual(plan);
  });

  test.each<[string, (plan: Record<string, never>) => unknown]>([
    ['an unknown field', (plan) => ({ ...plan, shell: 'rm -rf /' })],
    ['two masters', (plan) => edit(plan, (guests) => guests.map((guest) => ({ ...guest, role: 'master' })))],
    [
      'a repeated MAC',
      (plan) => edit(plan, (guests) => guests.map((guest) => ({ ...guest, mac: guests[0]?.['mac'] }))),
    ],
    [
      'a multicast MAC',
      (plan) => edit(plan, (guests) => guests.map((guest, index) => ({ ...guest, mac: `03:00:00:00:00:0${index}` }))),
    ],
    ['two guests at one peer', (plan) => edit(plan, (guests) => guests.map((guest) => ({ ...guest, peer: 'p@x/a' })))],
    [
      'a guest without a slot',
      (plan) => edit(plan, (guests) => guests.map((guest, index) => ({ ...guest, node: index + 100 }))),
    ],
    [
      'an address outside',
      (plan) => edit(plan, (guests) => guests.map((guest, index) => ({ ...guest, address: `10.78.0.${index + 1}` }))),
    ],
  ])('is refused with %s', (_, change) => {
    const plan = JSON.parse(JSON.stringify(planFor(2))) as Record<string, never>;
    expect(() => parsePlan(change(plan))).toThrow(/plan is not valid/);
  });
});

const edit = (plan: Record<string, never>, change: (guests: Record<string, unknown>[]) => unknown) => ({
  ...plan,
  guests: change(plan['guests'] as unknown as Record<string, unknown>[]),
});

describe('fitness of a peer', () => {
  test.each<[Partial<Capacity>, RegExp]>([
    [{ accepts: false }, /takes no guests/],
    [{ protocol: 2 }, /protocol 2/],
    [{ accelerator: 'none' }, /no QEMU/],
    [{ arch: 'aarch64' }, /aarch64/],
    [{ memoryMiB: 10 }, /10 MiB/],
    [{ cpus: 0 }, /0 cpus/],
  ])('%j is unfit', (change, reason) => {
    expect(unfit(job(), CAPACITY)).toBeUndefined();
    expect(unfit(job(), { ...CAPACITY, ...change })).toMatch(reason);
  });
});

describe('job definition', () => {
  test.each<[string, unknown, RegExp]>([
    ['no name', { topology: 'mesh' }, /required property 'name'/],
    ['an unknown topology', { name: 'x', topology: 'blob' }, /topology/],
    ['an unknown field', { name: 'x', topology: 'mesh', sudo: true }, /sudo/],
    ['min above max', { name: 'x', topology: 'mesh', worker: { min: 3, max: 2 } }, /more than worker.max/],
    ['run that is no function', { name: 'x', topology: 'mesh', run: 3 }, /run must be a function/],
    ['a tiny MTU', { name: 'x', topology: 'mesh', network: { mtu: 100 } }, /mtu/],
  ])('with %s is refused', (_, definition, reason) => {
    expect(() => checkJob(definition)).toThrow(reason);
  });
});
