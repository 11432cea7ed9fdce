/** A link on its ladder: up while it is used, down when a wire dies, nothing lost that need not be, and never back and forth. */
import { describe, expect, test } from 'vitest';
import { openLadders, type Ladders } from '../../harness/ladders.ts';

const STEPS = 10;
const rungs = ({ a, b }: Ladders) => [a.rung, b.rung];
const both = (link: Ladders, rung: string) => () => link.a.rung === rung && link.b.rung === rung;
const openRungs = ({ open }: Ladders) => open.map(({ rung }) => rung).toSorted();

/** What really happens to a wire when a cable is cut, a process ends, a peer closes. */
async function close(link: Ladders, rung: string, end: 0 | 1 = 0): Promise<void> {
  const { ends } = link.open.findLast((each) => each.rung === rung)!;
  await ends[end][Symbol.asyncDispose]();
}

/** Sends from `a` to `b` each 10 ms for so long; the numbers that were taken. */
async function flow(link: Ladders, ms: number, first = 1): Promise<number[]> {
  const taken: number[] = [];
  for (let i = 0; i < ms / STEPS; i++) {
    if (link.a.send(first + i)) taken.push(first + i);
    await link.pass(STEPS);
  }
  return taken;
}

describe('climbing', () => {
  test('the chat server carries first, then webrtc, then direct, and the wires below are closed', async () => {
    await using link = openLadders({ ways: { direct: { dialMs: 2000 }, webrtc: { dialMs: 800 } } });
    await link.until(both(link, 'stanza'));
    expect(link.clock.now()).toBeLessThan(800);
    await link.until(both(link, 'webrtc'));
    await link.until(both(link, 'direct'));
    await link.pass(3000);
    expect([link.a.moves, link.b.moves]).toEqual([
      ['stanza', 'webrtc', 'direct'],
      ['stanza', 'webrtc', 'direct'],
    ]);
    expect(openRungs(link)).toEqual(['direct', 'stanza']);
  });

  test('an attempt below is given up as soon as a better wire is there', async () => {
    await using link = openLadders({ ways: { webrtc: { dialMs: 5000 } } });
    await link.until(both(link, 'direct'));
    await link.pass(20_000);
    expect(openRungs(link)).toEqual(['direct', 'stanza']);
  });

  test('frames that are numbered arrive once each while the link climbs, whatever the wires hold', async () => {
    await using link = openLadders({ ways: { direct: { dialMs: 1500 }, webrtc: { dialMs: 700, latencyMs: 200 } } });
    await link.until(both(link, 'stanza'));
    const taken = await flow(link, 4000);
    await link.pass(2000);
    expect(link.b.moves).toEqual(['stanza', 'webrtc', 'direct']);
    expect(taken).toHaveLength(400);
    expect(link.b.heard.toSorted((x, y) => x - y)).toEqual(taken);
  });

  test('a wire that still has something to send is kept for two seconds, and closed when it is empty', async () => {
    for (const [emptyAfter, closedAfter] of [
      [1000, 1500],
      [5000, 2500],
    ] as const) {
      await using link = openLadders({ ways: { direct: { dialMs: 3000 }, webrtc: { held: 5000 } } });
      await link.until(both(link, 'webrtc'));
      await link.until(both(link, 'direct'));
      await link.pass(Math.min(emptyAfter, 1900));
      expect(openRungs(link)).toContain('webrtc');
      if (emptyAfter < 1900) link.ways.webrtc.held = 0;
      await link.pass(closedAfter - Math.min(emptyAfter, 1900));
      expect(openRungs(link)).toEqual(['direct', 'stanza']);
    }
  });

  test('a wire over which no answer comes does not count, and is closed', async () => {
    await using link = openLadders({ ways: { direct: { silent: true } } });
    await link.until(both(link, 'webrtc'));
    expect(link.a.ladder.state().reasons.direct).toContain('no answer has come over it yet');
    await link.until(() => link.a.ladder.state().reasons.direct!.includes('no answer came over it'));
    expect([rungs(link), openRungs(link)]).toEqual([
      ['webrtc', 'webrtc'],
      ['stanza', 'webrtc'],
    ]);
  });
});

describe('coming down', () => {
  test('an explicit loss: the chat server carries in the same moment, and the wire is dialled again at once', async () => {
    await using link = openLadders({ ways: { direct: { works: false } } });
    await link.until(both(link, 'webrtc'));
    await link.pass(12_000);
    await close(link, 'webrtc');
    await link.pass(STEPS);
    expect(rungs(link)).toEqual(['stanza', 'stanza']);
    expect([link.a.send(1), link.b.send(2)]).toEqual([true, true]);
    const fell = link.clock.now();
    await link.until(both(link, 'webrtc'));
    expect(link.clock.now() - fell).toBeLessThan(700);
    expect([link.a.heard, link.b.heard]).toEqual([[2], [1]]);
  });

  test('a death that nobody says: frames go on over another wire within 1.5 s', async () => {
    await using link = openLadders({ ways: { webrtc: { works: false } } });
    await link.until(both(link, 'direct'));
    await flow(link, 3000);
    link.ways.direct.silent = true;
    link.ways.direct.works = false;
    const died = link.clock.now();
    await Promise.race([flow(link, 2000, 1000), link.until(() => link.a.rung === 'stanza')]);
    expect(link.clock.now() - died).toBeLessThanOrEqual(1600);
    await link.until(() => link.b.rung === 'stanza');
  });

  test('a link that nobody uses is found dead, too', async () => {
    await using link = openLadders({ rungs: ['direct'] });
    await link.until(both(link, 'direct'));
    await link.pass(15_000);
    link.ways.direct.silent = true;
    link.ways.direct.works = false;
    await link.until(both(link, 'down'));
    await link.pass(200);
    expect(link.a.ladder.state().reasons.direct).toContain('no direct here');
  });

  test('a wire that only the offering end has lost is replaced by its new offer', async () => {
    await using link = openLadders({ ways: { webrtc: { works: false } } });
    await link.until(both(link, 'direct'));
    await link.pass(12_000);
    link.ways.direct.silent = true;
    await close(link, 'direct');
    link.ways.direct.silent = false;
    expect(link.b.rung).toBe('direct');
    await link.until(() => link.b.moves.length > 1 && link.b.rung === 'direct' && link.a.rung === 'direct');
    await flow(link, 100);
    await link.pass(200);
    expect(link.b.heard).toHaveLength(10);
    expect(openRungs(link)).toEqual(['direct', 'stanza']);
  });

  test('a worse wire that comes because the better one is dead is kept', async () => {
    await using link = openLadders({ ways: { webrtc: { dialMs: 100 } } });
    await link.until(both(link, 'direct'));
    await link.pass(12_000);
    link.ways.direct.silent = true;
    link.ways.direct.works = false;
    link.dialled.length = 0;
    await close(link, 'direct');
    await link.pass(1500);
    expect(rungs(link)).toEqual(['webrtc', 'webrtc']);
    expect(link.dialled.filter((rung) => rung === 'webrtc')).toHaveLength(1);
  });

  test('an end that does not know of the loss looks when it hears the other one elsewhere', async () => {
    await using link = openLadders({ ways: { direct: { dialMs: 20_000 }, webrtc: { works: false } } });
    await link.until(both(link, 'direct'));
    await link.pass(12_000);
    link.ways.direct.silent = true;
    link.ways.direct.works = false;
    // Only the answering end knows; it cannot offer.
    await close(link, 'direct', 1);
    await link.until(() => link.b.rung === 'stanza');
    const fell = link.clock.now();
    link.b.send(1);
    await link.until(() => link.a.rung === 'stanza');
    expect(link.clock.now() - fell).toBeLessThan(800);
  });

  test('where all wires are gone the link is down, and comes back', async () => {
    await using link = openLadders({ rungs: ['direct', 'webrtc'] });
    await link.until(both(link, 'direct'));
    link.ways.direct.works = false;
    link.ways.webrtc.works = false;
    await close(link, 'direct', 1);
    await link.pass(STEPS);
    expect([link.a.wire, link.b.wire]).toEqual([undefined, undefined]);
    expect(link.a.ladder.state().rung).toBe('down');
    link.ways.direct.works = true;
    await link.until(both(link, 'direct'));
  });

  test('a standby of which the other end is gone is found out soon after it has to carry', async () => {
    await using link = openLadders();
    await link.until(both(link, 'direct'));
    await link.pass(12_000);
    for (const way of Object.values(link.ways)) Object.assign(way, { silent: true, works: false });
    await close(link, 'direct');
    await link.pass(STEPS);
    expect(link.a.rung).toBe('stanza');
    const fell = link.clock.now();
    await link.until(() => link.a.rung === 'down');
    expect(link.clock.now() - fell).toBeLessThan(7000);
    await link.until(() => link.b.rung === 'down');
    Object.assign(link.ways.stanza, { silent: false });
    await link.until(both(link, 'stanza'));
  });
});

describe('patience', () => {
  test('what does not open is tried again after one second, two, five, fifteen, and each minute', async () => {
    await using link = openLadders({ rungs: ['direct'], ways: { direct: { works: false, dialMs: STEPS } } });
    const times: number[] = [];
    for (let i = 0, seen = 0; i < 15_000; i++) {
      await link.pass(STEPS);
      if (link.dialled.length > seen) times.push(link.clock.now());
      seen = link.dialled.length;
    }
    const gaps = times.slice(1).map((time, i) => Math.round((time - times[i]!) / 1000));
    expect(gaps).toEqual([1, 2, 5, 15, 60, 60]);
  });

  test('a wire that dies again and again makes the pauses longer, not the link restless', async () => {
    await using link = openLadders({ ways: { direct: { works: false }, webrtc: { dialMs: 50 } } });
    for (let i = 0; i < 4; i++) {
      await link.until(both(link, 'webrtc'));
      await close(link, 'webrtc');
      await link.pass(STEPS);
    }
    const fell = link.clock.now();
    await link.until(both(link, 'webrtc'));
    expect(link.clock.now() - fell).toBeGreaterThan(14_000);
  });

  test('a wire that lived ten seconds was good: after it, the next is tried at once, and failures begin to count anew', async () => {
    await using link = openLadders({ ways: { direct: { works: false }, webrtc: { dialMs: 50 } } });
    const again = async () => {
      const fell = link.clock.now();
      await link.until(both(link, 'webrtc'));
      return link.clock.now() - fell;
    };
    await again();
    for (let i = 0; i < 3; i++) {
      await close(link, 'webrtc');
      await link.pass(STEPS);
      await again();
    }
    await link.pass(11_000);
    await close(link, 'webrtc');
    await link.pass(STEPS);
    expect(await again()).toBeLessThan(500);
    await close(link, 'webrtc');
    await link.pass(STEPS);
    expect(await again()).toBeLessThan(2000);
  });

  test('when the present wire falls, all better ones are tried again at once', async () => {
    await using link = openLadders({ ways: { direct: { works: false } } });
    await link.until(both(link, 'webrtc'));
    await link.pass(50_000);
    link.ways.direct.works = true;
    await close(link, 'webrtc');
    const fell = link.clock.now();
    await link.until(both(link, 'direct'));
    expect(link.clock.now() - fell).toBeLessThan(500);
  });
});

describe('what the job allows', () => {
  test('a rung that is no longer allowed is left without losing a frame, and one that is allowed again is climbed', async () => {
    await using link = openLadders({ ways: { stanza: { latencyMs: 30 } } });
    await link.until(both(link, 'direct'));
    const sent = flow(link, 3000);
    await link.until(() => link.b.heard.length > 20);
    link.a.ladder.allow(['stanza']);
    await link.until(both(link, 'stanza'));
    expect(link.a.ladder.state().reasons).toEqual({
      direct: 'not allowed by the job',
      webrtc: 'not allowed by the job',
    });
    const taken = await sent;
    await link.pass(1000);
    expect(link.b.heard.toSorted((x, y) => x - y)).toEqual(taken);
    expect(openRungs(link)).toEqual(['stanza']);
    link.a.ladder.allow(['direct', 'stanza']);
    await link.until(both(link, 'direct'));
  });

  test('both ends leave what one of them may not use, at once', async () => {
    await using link = openLadders({ ways: { stanza: { latencyMs: 30 } } });
    await link.until(both(link, 'direct'));
    await link.pass(1000);
    link.a.ladder.allow(['stanza']);
    await link.pass(200);
    expect(rungs(link)).toEqual(['stanza', 'stanza']);
  });

  test('what waited for its next try is tried at once when it is allowed anew', async () => {
    await using link = openLadders({ ways: { direct: { works: false }, webrtc: { works: false } } });
    await link.pass(90_000);
    link.ways.direct.works = true;
    link.a.ladder.allow(['direct', 'webrtc', 'stanza']);
    await link.pass(500);
    expect(rungs(link)).toEqual(['direct', 'direct']);
  });

  test('no rung at all is a link that is down', async () => {
    await using link = openLadders();
    await link.until(both(link, 'direct'));
    link.b.ladder.allow([]);
    await link.until(both(link, 'down'));
    await link.pass(10_000);
    expect(openRungs(link)).not.toContain('direct');
    link.b.ladder.allow(['direct', 'webrtc', 'stanza']);
    await link.until(both(link, 'direct'));
  });
});

describe('what it costs and tells', () => {
  test('an idle link says hello each five seconds, a standby says nothing', async () => {
    await using link = openLadders();
    await link.until(both(link, 'direct'));
    await link.pass(10_000);
    const before = { ...link.batches };
    await link.pass(60_000);
    // Two ends, a question and an answer each.
    expect(link.batches).toEqual({ ...before, direct: before.direct + 48 });
  });

  test('a link that is used says hello each half second', async () => {
    await using link = openLadders({ rungs: ['direct'] });
    await link.until(both(link, 'direct'));
    await flow(link, 2000);
    const before = link.batches.direct;
    const taken = await flow(link, 5000, 1000);
    expect(link.batches.direct - before - taken.length).toBeGreaterThanOrEqual(36);
    expect(link.batches.direct - before - taken.length).toBeLessThanOrEqual(44);
  });

  test('the chat server has hellos each fifteen seconds only', async () => {
    await using link = openLadders({ rungs: ['stanza'] });
    await link.until(both(link, 'stanza'));
    const before = link.batches.stanza;
    await link.pass(60_000);
    // Two ends, a question and an answer each, three or four times.
    expect([12, 16]).toContain(link.batches.stanza - before);
  });

  test('round trip, loss, bytes, rates and time on the rung', async () => {
    await using link = openLadders({ rungs: ['direct'], ways: { direct: { latencyMs: 20 } } });
    await link.until(both(link, 'direct'));
    await flow(link, 6000);
    const state = link.a.ladder.state();
    expect(state).toMatchObject({
      rung: 'direct',
      reasons: {},
      roundTripMs: 40,
      loss: 0,
      sentBytes: 600 * 76,
      drops: 0,
      seconds: 6,
    });
    expect(Math.abs(state.sentPerSecond - 7600)).toBeLessThan(100);
    expect(link.a.measures.at(-1)).toEqual({ rung: 'direct', roundTripMs: 40, loss: 0 });
    expect(link.b.ladder.state().receivedBytes).toBeGreaterThan(590 * 76);
  });

  test('why it is not on a better rung', async () => {
    await using link = openLadders({ rungs: ['webrtc', 'stanza'], ways: { webrtc: { works: false } } });
    await link.pass(1000);
    expect(link.a.ladder.state().reasons).toEqual({
      direct: 'not allowed by the job',
      webrtc: 'no webrtc here (1 s ago); next try in 0 s',
    });
    expect(link.b.ladder.state().reasons.webrtc).toBe('waits for the other end to offer');
  });

  test('the end leaves no wire open, and says so', async () => {
    const link = openLadders();
    await link.until(both(link, 'direct'));
    await link[Symbol.asyncDispose]();
    expect([link.open, link.a.wire, link.a.moves.at(-1)]).toEqual([[], undefined, 'down']);
    const before = link.dialled.length;
    await link.pass(5000);
    expect(link.dialled).toHaveLength(before);
  });
});
