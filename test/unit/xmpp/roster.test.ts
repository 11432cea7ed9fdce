/** Who is in the room: presence makes occupants, only signs of life keep them alive. */
import { expect, test } from 'vitest';
import type { Capacity } from '../../../src/protocol/capacity.ts';
import { DEAD_AFTER_MS } from '../../../src/protocol/limits.ts';
import { Roster, type RoomEvent } from '../../../src/xmpp/roster.ts';

const capacity: Capacity = {
  software: 'kith/0',
  protocol: 1,
  role: 'worker',
  cpus: 2,
  memoryMiB: 100,
  diskMiB: 100,
  arch: 'x86_64',
  accelerator: 'tcg',
  confinement: [],
  guests: 0,
  accepts: true,
};
const anna = { jid: 'anna@h/1', nick: 'anna', capacity };
const ben = { jid: 'ben@h/1', nick: 'ben', capacity: undefined };
const kinds = (events: readonly RoomEvent[]) => events.map((event) => `${event.occupant.nick} ${event.kind}`);

test('joined, capacity changed, left', () => {
  const roster = new Roster();
  expect(kinds(roster.present(anna, 0))).toEqual(['anna joined']);
  expect(kinds(roster.present(anna, 1))).toEqual([]);
  expect(kinds(roster.present({ ...anna, capacity: { ...capacity, guests: 1 } }, 2))).toEqual(['anna capacity']);
  expect(roster.occupants()).toMatchObject([{ jid: 'anna@h/1', since: 0, alive: true, capacity: { guests: 1 } }]);
  expect(kinds(roster.left('nobody'))).toEqual([]);
  expect(kinds(roster.left('anna'))).toEqual(['anna left']);
  expect(roster.occupants()).toEqual([]);
});

test('silent is dead, once; any stanza revives', () => {
  const roster = new Roster();
  roster.present(anna, 0);
  roster.present(ben, 0);
  roster.seenNick('ben', 10);
  expect(kinds(roster.sweep(DEAD_AFTER_MS - 1))).toEqual([]);
  expect(kinds(roster.sweep(DEAD_AFTER_MS))).toEqual(['anna dead']);
  expect(kinds(roster.sweep(DEAD_AFTER_MS + 9))).toEqual([]);
  expect(kinds(roster.sweep(DEAD_AFTER_MS + 10))).toEqual(['ben dead']);
  expect(kinds(roster.seen('anna@h/1', DEAD_AFTER_MS + 20))).toEqual(['anna revived']);
  expect(kinds(roster.seen('ben@h/other', DEAD_AFTER_MS + 20))).toEqual([]);
  expect(roster.occupants().map((occupant) => occupant.alive)).toEqual([true, false]);
});

test('time in which we heard nobody counts for nobody', () => {
  const roster = new Roster();
  roster.present(anna, 0);
  roster.forgive(100_000);
  expect(kinds(roster.sweep(100_000 + DEAD_AFTER_MS - 1))).toEqual([]);
  expect(kinds(roster.sweep(100_000 + DEAD_AFTER_MS))).toEqual(['anna dead']);
});

test('after a fresh session of ours: who is named again never left, who is not gets time to come back', () => {
  const roster = new Roster();
  roster.present(anna, 0);
  roster.present(ben, 0);
  roster.doubt(1000);
  expect(kinds(roster.present({ ...anna, nick: 'anna-2' }, 1001))).toEqual([]);
  expect(kinds(roster.sweep(1000 + DEAD_AFTER_MS))).toEqual(['ben left']);
  expect(roster.occupants()).toMatchObject([{ nick: 'anna-2', since: 0 }]);
});

test('a room without end costs bounded memory', () => {
  const roster = new Roster();
  for (let index = 0; index < 1100; index++) roster.present({ jid: `a@h/${index}`, nick: `${index}`, capacity }, 0);
  expect(roster.occupants()).toHaveLength(1000);
});
