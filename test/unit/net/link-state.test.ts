/** Link state between a few nodes, with wires that the test holds in its hand. Whole LANs: test/simulation. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createLinkState, type LinkState } from '../../../src/net/link-state.ts';
import {
  bodyOf,
  decodeMessage,
  decodeNote,
  encodeDigest,
  encodeNoteBody,
  encodeNotes,
  SIGNATURE_BYTES,
  type NoteBody,
} from '../../../src/net/note.ts';
import type { Edge, LiveEdge } from '../../../src/net/topology.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';
import { fakeNotary } from '../../simulation/notary.ts';

const GOOD = { cost: 100, maxBatch: 65_536 };
const { sign, verify } = fakeNotary();

/** Nodes joined by instant wires that the test can break. */
function createNet(plan: readonly Edge[], options: { context?: (node: number) => string } = {}) {
  const clock = virtualClock();
  const states = new Map<number, LinkState>();
  const changes = new Map<number, LiveEdge[][]>();
  const broken = new Set<string>();
  const deaf = new Set<number>();
  const sent: { from: number; to: number; payload: Uint8Array }[] = [];
  let checks = 0;
  const born = (node: number) => {
    changes.set(node, []);
    const state = createLinkState({
      self: node,
      context: options.context?.(node) ?? 'job lan',
      clock,
      random: () => 0.5,
      sign: (bytes) => sign(node, bytes),
      verify(origin, bytes, signature) {
        checks++;
        return verify(origin, bytes, signature);
      },
      send(to, payload) {
        if (broken.has(`${node} ${to}`)) return false;
        sent.push({ from: node, to, payload });
        clock.after(1, () => !deaf.has(to) && states.get(to)?.receive(node, payload));
        return true;
      },
      onChange: (edges) => void changes.get(node)!.push([...edges]),
    });
    state.setPlan(plan);
    states.set(node, state);
    return state;
  };
  for (const node of new Set(plan.flat())) born(node);
  const net = {
    clock,
    sent,
    born,
    broken,
    deaf,
    changes: (node: number) => changes.get(node)!,
    at: (node: number) => states.get(node)!,
    checks: () => checks,
    link(a: number, b: number, link: typeof GOOD | undefined = GOOD) {
      states.get(a)!.setLink(b, link);
      states.get(b)!.setLink(a, link);
    },
    unlink(a: number, b: number) {
      states.get(a)!.setLink(b, undefined);
      states.get(b)!.setLink(a, undefined);
    },
    /** What was sent of this node's own notes by itself. */
    told: (node: number) =>
      sent.filter(({ from, payload }) => {
        const read = from === node && decodeMessage(payload);
        return read && read.kind === 'notes' && read.notes.some((note) => decodeNote(note)?.origin === node);
      }),
    sees: (node: number) =>
      states
        .get(node)!
        .edges.map(([a, b]) => `${a}-${b}`)
        .sort()
        .join(' '),
  };
  return net;
}

const note = (body: Partial<NoteBody>, by = body.origin ?? 1, context = 'job lan'): Uint8Array => {
  const bytes = encodeNoteBody({ origin: 1, sequence: 2 ** 21, guest: false, neighbours: [], macs: [], ...body });
  const signature = sign(by, new Uint8Array([...new TextEncoder().encode(`kith-note-1\0${context}\0`), ...bytes]));
  return new Uint8Array([...bytes, ...signature]);
};
const message = (...notes: Uint8Array[]) => encodeNotes(notes)[0]!;
const to = (node: number) => ({ node, cost: 100, maxBatch: 65_536 });

const LINE: Edge[] = [
  [1, 2],
  [2, 3],
  [3, 4],
];

describe('links that come up', () => {
  test('are seen by everybody', () => {
    const net = createNet(LINE);
    for (const [a, b] of LINE) net.link(a, b);
    net.clock.advance(200);
    expect([1, 2, 3, 4].map(net.sees)).toEqual(Array.from({ length: 4 }, () => '1-2 2-3 3-4'));
    expect(net.at(1).edges.find(([a]) => a === 3)).toEqual([3, 4, 100, 65_536]);
  });

  test('are learned of by a node that never knew its own link to be down', () => {
    const net = createNet(LINE);
    net.link(1, 2);
    net.clock.advance(200);
    net.at(2).setLink(1, undefined);
    net.clock.advance(200);
    net.link(2, 3);
    net.clock.advance(200);
    net.at(2).setLink(1, GOOD);
    net.clock.advance(1500);
    expect(net.sees(1)).toBe('1-2 2-3');
  });

  test('count only when both ends say so', () => {
    const net = createNet(LINE);
    net.link(1, 2);
    net.at(2).setLink(3, GOOD);
    net.clock.advance(200);
    expect([1, 2, 3].map(net.sees)).toEqual(['1-2', '1-2', '1-2']);
    net.at(3).setLink(2, GOOD);
    net.clock.advance(200);
    expect([1, 2, 3].map(net.sees)).toEqual(['1-2 2-3', '1-2 2-3', '1-2 2-3']);
  });

  test('count only when the plan has them', () => {
    const net = createNet(LINE);
    net.link(1, 2);
    net.link(1, 4);
    net.clock.advance(200);
    expect(net.sees(1)).toBe('1-2');
    for (const node of [1, 2, 3, 4]) net.at(node).setPlan([...LINE, [1, 4]]);
    net.clock.advance(200);
    expect(net.sees(2)).toBe('1-2 1-4');
  });

  test('cost what the worse end says, and take what the smaller end takes', () => {
    const net = createNet(LINE);
    net.at(1).setLink(2, { cost: 40, maxBatch: 65_536 });
    net.at(2).setLink(1, { cost: 90, maxBatch: 16_384 });
    net.clock.advance(200);
    expect([net.at(1).edges, net.at(2).edges]).toEqual([[[1, 2, 90, 16_384]], [[1, 2, 90, 16_384]]]);
  });

  test('of one end before the other: what the first asked meanwhile is answered', () => {
    const net = createNet(LINE);
    net.link(2, 3);
    net.clock.advance(200);
    net.broken.add('2 1');
    net.at(1).setLink(2, GOOD);
    net.clock.advance(100);
    net.broken.delete('2 1');
    net.at(2).setLink(1, GOOD);
    net.clock.advance(100);
    expect(net.sees(1)).toBe('1-2 2-3');
  });

  test('are told together, when they come up together', () => {
    const star = [2, 3, 4, 5, 6, 7].map((leaf): Edge => [1, leaf]);
    const net = createNet(star);
    for (const [a, b] of star) net.link(a, b);
    net.clock.advance(25);
    expect(net.told(1)).toHaveLength(star.length);
  });
});

describe('links that go down', () => {
  test('are gone at once where it happens, before anybody hears it', () => {
    const net = createNet(LINE);
    for (const [a, b] of LINE) net.link(a, b);
    net.clock.advance(200);
    net.at(1).setLink(2, undefined);
    expect(net.sees(1)).toBe('2-3 3-4');
    expect(net.sees(2)).toBe('1-2 2-3 3-4');
    net.at(2).setLink(1, undefined);
    net.clock.advance(3);
    expect(net.sees(4)).toBe('2-3 3-4');
  });

  test('and up again all the time cost a note a second, and the last state gets out', () => {
    const net = createNet(LINE);
    for (const [a, b] of LINE) net.link(a, b);
    net.clock.advance(5000);
    net.sent.length = 0;
    for (let i = 0; i < 200; i++) {
      net.at(1).setLink(2, i % 2 === 0 ? undefined : { ...GOOD, cost: 100 + i });
      net.clock.advance(50);
    }
    expect(net.told(1).length).toBeLessThanOrEqual(10 + 3 + 1);
    net.clock.advance(2000);
    expect(net.at(4).edges.find(([a]) => a === 1)?.[2]).toBe(100 + 199);
  });
});

test('a change of cost is told first and used then', () => {
  const net = createNet(LINE);
  for (const [a, b] of LINE) net.link(a, b);
  net.clock.advance(5000);
  net.sent.length = 0;
  let toldBefore = -1;
  net.changes(1).push = () => (toldBefore = net.sent.length);
  net.at(1).setLink(2, { cost: 900, maxBatch: 65_536 });
  expect(toldBefore).toBe(1);
  net.clock.advance(50);
  expect(net.at(4).edges.find(([a]) => a === 1)?.[2]).toBe(900);
});

test('a batch that became smaller counts at once', () => {
  const net = createNet(LINE);
  net.link(1, 2);
  net.clock.advance(200);
  net.broken.add('1 2');
  for (let i = 0; i < 5; i++) net.at(1).setLink(2, { cost: 100 + i, maxBatch: 4096 });
  expect(net.at(1).edges[0]![3]).toBe(4096);
});

describe('what got lost', () => {
  test('is made good when the wire takes messages again', () => {
    const net = createNet(LINE);
    net.link(1, 2);
    net.link(2, 3);
    net.clock.advance(200);
    net.broken.add('2 1');
    net.link(3, 4);
    net.clock.advance(500);
    expect(net.sees(1)).toBe('1-2 2-3');
    net.broken.delete('2 1');
    net.clock.advance(1100);
    expect(net.sees(1)).toBe('1-2 2-3 3-4');
  });

  test('without anybody noticing is found by the next summary', () => {
    const net = createNet(LINE);
    net.link(1, 2);
    net.link(2, 3);
    net.clock.advance(200);
    net.deaf.add(1);
    net.link(3, 4);
    net.clock.advance(500);
    net.deaf.delete(1);
    expect(net.sees(1)).toBe('1-2 2-3');
    net.clock.advance(11_000);
    expect(net.sees(1)).toBe('1-2 2-3 3-4');
  });
});

describe('a node', () => {
  test('that starts again wins over what it said before', () => {
    const net = createNet(LINE);
    for (const [a, b] of LINE) net.link(a, b);
    net.clock.advance(200);
    for (let i = 0; i < 20; i++) {
      net.clock.advance(1500);
      net.at(1).setLink(2, { ...GOOD, cost: 200 + i });
    }
    net.clock.advance(2000);
    net.at(1)[Symbol.dispose]();
    net.born(1);
    net.at(2).setLink(1, undefined);
    net.clock.advance(100);
    net.link(1, 2, { cost: 55, maxBatch: 65_536 });
    net.clock.advance(200);
    expect(net.at(4).edges.find(([a]) => a === 1)).toEqual([1, 2, 55, 65_536].with(2, 55));
    expect(net.sees(1)).toBe('1-2 2-3 3-4');
  });

  test('that leaves the plan is forgotten, and known again when it comes back', () => {
    const net = createNet(LINE);
    for (const [a, b] of LINE) net.link(a, b);
    net.clock.advance(200);
    for (const node of [1, 2, 3]) net.at(node).setPlan(LINE.slice(0, 2));
    net.clock.advance(2000);
    expect([1, 2, 3].map(net.sees)).toEqual(['1-2 2-3', '1-2 2-3', '1-2 2-3']);
    for (const node of [1, 2, 3]) net.at(node).setPlan(LINE);
    net.clock.advance(12_000);
    expect([1, 2, 3, 4].map(net.sees)).toEqual(Array.from({ length: 4 }, () => '1-2 2-3 3-4'));
  });

  test('that nobody has heard of for a quarter of an hour does not count, and neighbours do not keep it alive', () => {
    const net = createNet(LINE);
    for (const [a, b] of LINE) net.link(a, b);
    net.clock.advance(200);
    net.at(4)[Symbol.dispose]();
    net.clock.advance(14 * 60_000);
    expect(net.sees(1)).toBe('1-2 2-3 3-4');
    net.clock.advance(3 * 60_000);
    expect([1, 2, 3].map(net.sees)).toEqual(['1-2 2-3', '1-2 2-3', '1-2 2-3']);
    net.clock.advance(60 * 60_000);
    expect([1, 2, 3].map(net.sees)).toEqual(['1-2 2-3', '1-2 2-3', '1-2 2-3']);
  });

  test('tells what its guest has behind it', () => {
    const net = createNet(LINE);
    for (const [a, b] of LINE) net.link(a, b);
    net.at(4).setGuest({ present: true, macs: [0x02_00_00_00_00_09, 0x02_00_00_00_00_05] });
    net.clock.advance(200);
    expect(net.at(1).macs(4)).toEqual([0x02_00_00_00_00_05, 0x02_00_00_00_00_09]);
    expect(net.at(1).macs(77)).toEqual([]);
  });

  test('of 200 with an idle link uses less than half a kilobyte a second for it', () => {
    // Notes and their refreshment grow with the nodes, so a third of them may use a third.
    const star = Array.from({ length: 66 }, (_, i): Edge => [1, i + 2]);
    const net = createNet(star);
    for (const [a, b] of star) net.link(a, b);
    net.clock.advance(60_000);
    net.sent.length = 0;
    net.clock.advance(300_000);
    const ours = net.sent.filter(({ from, to }) => from + to === 3);
    const bytes = ours.reduce((sum, { payload }) => sum + payload.length + 16, 0);
    expect(bytes / 300).toBeLessThan(500 / 3);
  });
});

describe('a neighbour that lies', () => {
  const attacked = () => {
    const net = createNet(LINE);
    for (const [a, b] of LINE) net.link(a, b);
    net.clock.advance(5000);
    return net;
  };

  test.each([
    ['a note that somebody else signed', note({ origin: 4, neighbours: [] }, 3)],
    ['a note of another job', note({ origin: 4, neighbours: [] }, 4, 'other lan')],
    ['a note of a node that is not in the plan', note({ origin: 9, neighbours: [to(1)] })],
    ['a note that is cut off', note({ origin: 4 }).subarray(1)],
    ['an old note', note({ origin: 4, sequence: 1 })],
    ['our own note, with another signature', note({ origin: 2, neighbours: [] }, 3)],
  ])('is not believed: %s', (_, bytes) => {
    const net = attacked();
    net.at(2).receive(3, message(bytes));
    net.clock.advance(12_000);
    expect([1, 2, 4].map(net.sees)).toEqual(['1-2 2-3 3-4', '1-2 2-3 3-4', '1-2 2-3 3-4']);
  });

  test('is believed about itself, and about itself alone', () => {
    const net = attacked();
    net.at(2).receive(3, message(note({ origin: 3, neighbours: [to(1), to(2)] })));
    expect(net.sees(2)).toBe('1-2 2-3');
  });

  test('is not heard when the plan has no link with it', () => {
    const net = attacked();
    const before = net.checks();
    net.at(1).receive(4, message(note({ origin: 4, neighbours: [] })));
    expect([net.sees(1), net.checks()]).toEqual(['1-2 2-3 3-4', before]);
  });

  test('makes us check a bounded number of signatures, and honest neighbours are still heard', () => {
    const net = attacked();
    const before = net.checks();
    for (let i = 0; i < 10_000; i++) {
      net.at(2).receive(3, message(note({ origin: 4, sequence: 2 ** 22 + i }, 3)));
      if (i % 100 === 0) net.clock.advance(10);
    }
    expect(net.checks() - before).toBeLessThan(100);
    net.at(1).setLink(2, { ...GOOD, cost: 777 });
    net.clock.advance(50);
    expect(net.at(2).edges.find(([a]) => a === 1)?.[2]).toBe(777);
  });

  test('with news of itself all the time is not passed on all the time', () => {
    const net = createNet(LINE);
    for (const [a, b] of LINE) net.link(a, b);
    net.clock.advance(200);
    const before = net.sent.length;
    for (let i = 1; i <= 100; i++) {
      const news = note({ origin: 3, sequence: 2 ** 21 + i, neighbours: [to(2), to(4)] });
      net.at(2).receive(3, message(news));
      net.clock.advance(10);
    }
    const passed = net.sent.slice(before).filter(({ from, to }) => from === 2 && to === 1);
    expect(passed.length).toBeLessThan(25);
  });

  test('gets few answers, however often it asks', () => {
    const net = attacked();
    net.sent.length = 0;
    for (let i = 0; i < 1000; i++) net.at(2).receive(3, encodeDigest([], true));
    expect(net.sent.length).toBeLessThan(40);
  });

  test('that claims a higher number of ours in a digest does not move ours', () => {
    const net = attacked();
    net.at(2).receive(3, encodeDigest([[2, 0xffff_ffff]], true));
    net.at(2).setLink(1, { ...GOOD, cost: 300 });
    const last = net.sent.filter(({ from }) => from === 2).at(-1)!;
    const read = decodeMessage(last.payload);
    expect(read?.kind === 'notes' && decodeNote(read.notes[0]!)?.sequence).toBeLessThan(2 ** 20);
  });

  test('can send any bytes', () => {
    const net = attacked();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(1, 3, 9), (bytes, from) => {
        net.at(2).receive(from, bytes);
        expect(net.sees(2)).toBe('1-2 2-3 3-4');
      }),
      { numRuns: 3000 },
    );
  });
});

test('what is signed names the context and holds all of the note but the signature', () => {
  const bytes = note({ origin: 4, neighbours: [to(3)] });
  expect(bodyOf(bytes)).toHaveLength(bytes.length - SIGNATURE_BYTES);
  expect(
    verify(
      4,
      new Uint8Array([...new TextEncoder().encode('kith-note-1\0job lan\0'), ...bodyOf(bytes)]),
      bytes.slice(-64),
    ),
  ).toBe(true);
});
