/** The directory: addresses as numbers, and the plan's word, all of it and nothing else. */
import { expect, test } from 'vitest';
import { createDirectory, macAt, macNumber } from '../../../src/net/directory.ts';

test('an address reads the same from text and from a frame', () => {
  const bytes = Uint8Array.of(0, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54);
  expect(macAt(bytes, 1)).toBe(macNumber('fe:dc:ba:98:76:54'));
});

test('knows what the plan says, and forgets it with the next plan', () => {
  const directory = createDirectory();
  const mac = '02:00:00:00:00:01';
  directory.assign([{ mac, node: 5, address: '10.77.0.9' }], 5);
  expect(directory.nodeOf(macNumber(mac))).toBe(5);
  expect(directory.place(5)).toEqual({ node: 5, mac: macNumber(mac), address: 0x0a4d0009, server: true });
  expect(directory.hasAddress(0x0a4d0009)).toBe(true);
  directory.assign([{ mac, node: 6, address: '223.77.0.9' }], undefined);
  expect(directory.place(5)).toBeUndefined();
  expect(directory.place(6)).toMatchObject({ address: 0xdf4d0009, server: false });
  expect([directory.nodeOf(macNumber(mac)), directory.hasAddress(0x0a4d0009)]).toEqual([6, false]);
});
