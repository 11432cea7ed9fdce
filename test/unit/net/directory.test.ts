/** The directory: addresses as numbers, and the plan's word, all of it and nothing else. */
import { describe, expect, test } from 'vitest';
import { createDirectory, macAt, MAX_LEARNED, macNumber } from '../../../src/net/directory.ts';
import { addressOf, BROADCAST, macOf } from '../../harness/frames.ts';

test('an address reads the same from text and from a frame', () => {
  const bytes = Uint8Array.of(0, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54);
  expect(macAt(bytes, 1)).toBe(macNumber('fe:dc:ba:98:76:54'));
});

test('knows what the plan says, and forgets it with the next plan', () => {
  const directory = createDirectory();
  const mac = '02:00:00:00:00:01';
  directory.assign([{ mac, node: 5, address: '10.77.0.9' }], 5);
  expect(directory.nodeOf(macNumber(mac))).toBe(5);
  expect(directory.place(5)).toEqual({
    node: 5,
    mac: macNumber(mac),
    address: 0x0a4d0009,
    server: true,
    segment: false,
  });
  expect(directory.placeAt(0x0a4d0009)?.node).toBe(5);
  directory.assign([{ mac, node: 6, address: '223.77.0.9' }], undefined);
  expect(directory.place(5)).toBeUndefined();
  expect(directory.place(6)).toMatchObject({ address: 0xdf4d0009, server: false });
  expect([directory.nodeOf(macNumber(mac)), directory.placeAt(0x0a4d0009)]).toEqual([6, undefined]);
});

describe('what is learned behind a port', () => {
  const places = [1, 2, 3].map((node) => ({ node, mac: macOf(node), address: addressOf(node), segment: node > 1 }));
  const strange = (count: number) => Array.from({ length: count }, (_, i) => macNumber('52:54:00:00:00:00') + i);

  test('is looked up like the plan’s own, until it is replaced', () => {
    const directory = createDirectory();
    directory.assign(places, 1);
    directory.setLearned(2, strange(2));
    expect(strange(2).map((mac) => directory.nodeOf(mac))).toEqual([2, 2]);
    directory.setLearned(2, strange(1));
    expect(strange(2).map((mac) => directory.nodeOf(mac))).toEqual([2, undefined]);
    directory.assign(
      places.map((place) => ({ ...place, segment: false })),
      1,
    );
    expect(directory.nodeOf(strange(1)[0]!)).toBeUndefined();
  });

  test('is little, nobody else’s, and of segments alone', () => {
    const directory = createDirectory();
    directory.assign(places, 1);
    directory.setLearned(1, strange(1));
    expect(directory.nodeOf(strange(1)[0]!)).toBeUndefined();
    directory.setLearned(2, [macNumber(macOf(1)), macNumber(BROADCAST), ...strange(MAX_LEARNED + 1)]);
    directory.setLearned(3, strange(MAX_LEARNED + 1));
    expect([directory.nodeOf(macNumber(macOf(1))), directory.nodeOf(macNumber(BROADCAST))]).toEqual([1, undefined]);
    expect(strange(MAX_LEARNED + 1).map((mac) => directory.nodeOf(mac))).toEqual([
      ...Array<number>(MAX_LEARNED).fill(2),
      3,
    ]);
  });
});
