/** The MAC directory: the plan's word counts, and what is learned is bounded. */
import { expect, test } from 'vitest';
import { createDirectory, macAt, macNumber } from '../../../src/net/directory.ts';

test('an address reads the same from text and from a frame', () => {
  const bytes = Uint8Array.of(0, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54);
  expect(macAt(bytes, 1)).toBe(macNumber('fe:dc:ba:98:76:54'));
});

test('the plan overrules what was learned, then and later', () => {
  const directory = createDirectory();
  const mac = macNumber('02:00:00:00:00:01');
  expect(directory.learn(mac, 5)).toBe(true);
  directory.assign([{ mac: '02:00:00:00:00:01', node: 1 }]);
  expect(directory.nodeOf(mac)).toBe(1);
  expect(directory.learn(mac, 5)).toBe(false);
  expect(directory.learn(mac, 1)).toBe(true);
  directory.assign([]);
  expect(directory.nodeOf(mac)).toBeUndefined();
});

test('beyond 4096 learned addresses the oldest is forgotten', () => {
  const directory = createDirectory();
  for (let mac = 0; mac <= 4096; mac++) directory.learn(mac, 2);
  expect(directory.nodeOf(0)).toBeUndefined();
  expect(directory.nodeOf(1)).toBe(2);
  expect(directory.nodeOf(4096)).toBe(2);
});

test('what was learned from a node goes with it', () => {
  const directory = createDirectory();
  directory.learn(1, 2);
  directory.learn(2, 3);
  directory.forget(new Set([3]));
  expect([directory.nodeOf(1), directory.nodeOf(2)]).toEqual([undefined, 3]);
});
