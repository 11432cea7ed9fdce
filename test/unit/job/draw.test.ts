/** Drawings of topologies: every guest is on them, links are where they should be. */
import { expect, test } from 'vitest';
import { drawTopology } from '../../../src/job/draw.ts';
import type { Plan, Topology } from '../../../src/protocol/plan.ts';

const planOf = (topology: Topology, count: number) =>
  ({
    lan: { topology },
    guests: Array.from({ length: count }, (_, index) => ({
      name: index === 0 ? 'master' : `worker-${index}`,
      node: index + 1,
      role: index === 0 ? 'master' : 'worker',
    })),
  }) as unknown as Plan;

test('a star has its master in the middle', () => {
  const rows = drawTopology(planOf({ kind: 'star' }, 5)).split('\n');
  const row = (name: string) => rows.findIndex((line) => line.includes(`[${name}]`));
  expect(row('worker-1')).toBeLessThan(row('master'));
  expect(row('master')).toBeLessThan(row('worker-3'));
});

test.each([1, 2, 3, 7, 12])('all of %i guests are on the drawing of a mesh', (count) => {
  const drawing = drawTopology(planOf({ kind: 'mesh' }, count));
  for (const { name } of planOf({ kind: 'mesh' }, count).guests) expect(drawing).toContain(`[${name}]`);
});

test('many guests become a list of links', () => {
  const list = drawTopology(planOf({ kind: 'ring' }, 20)).split('\n');
  expect(list).toHaveLength(20);
  expect(list).toContain('master - worker-19');
});
