/** Topologies by name. */
import { expect, test } from 'vitest';
import { topologyEdges } from '../../../src/net/topology.ts';

test('a star has its centre in node 1', () => {
  expect(topologyEdges({ kind: 'star' }, [3, 1, 2])).toEqual([
    [1, 2],
    [1, 3],
  ]);
});

test('a star without its centre has no links', () => {
  expect(topologyEdges({ kind: 'star' }, [2, 3])).toEqual([]);
});

test('a star that names its centres has the first that is there, else the master', () => {
  const topology = { kind: 'star', centres: [2, 3] } as const;
  expect(topologyEdges(topology, [1, 2, 3])).toEqual([
    [1, 2],
    [2, 3],
  ]);
  expect(topologyEdges(topology, [1, 3, 4])).toEqual([
    [1, 3],
    [3, 4],
  ]);
  expect(topologyEdges(topology, [1, 4])).toEqual([[1, 4]]);
});

test('a mesh joins everybody with everybody', () => {
  expect(topologyEdges({ kind: 'mesh' }, [4, 2, 9])).toEqual([
    [2, 4],
    [2, 9],
    [4, 9],
  ]);
});

test('a ring goes round by number', () => {
  expect(topologyEdges({ kind: 'ring' }, [8, 1, 5, 3])).toEqual([
    [1, 3],
    [1, 8],
    [3, 5],
    [5, 8],
  ]);
});

test('a ring of two is one link, of one none', () => {
  expect(topologyEdges({ kind: 'ring' }, [4, 2])).toEqual([[2, 4]]);
  expect(topologyEdges({ kind: 'ring' }, [4])).toEqual([]);
});

test('edges of nodes that are not there, doubles and loops are left out', () => {
  const edges = [
    [2, 1],
    [1, 2],
    [2, 2],
    [2, 7],
    [3, 2],
  ] as const;
  expect(topologyEdges({ kind: 'edges', edges }, [1, 2, 3])).toEqual([
    [1, 2],
    [2, 3],
  ]);
});
