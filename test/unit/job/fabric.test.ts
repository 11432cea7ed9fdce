/** A LAN of fabrics: links climb, frames find their way, links are set and cut while it lives. */
import { describe, expect, test, vi } from 'vitest';
import { KithError } from '../../../src/base/errors.ts';
import type { Notary } from '../../../src/job/fabric.ts';
import type { Ask } from '../../../src/job/guest-client.ts';
import type { Place } from '../../../src/job/membership.ts';
import { createSuspicion } from '../../../src/job/suspicion.ts';
import { jidOf, openFabrics, planOf, type Fabrics } from '../../harness/fabric.ts';
import { trustingNotary } from '../../harness/notary.ts';

const linked = (lan: Fabrics, pairs: readonly (readonly [number, number])[], wire: string) => () =>
  pairs.every(([a, b]) => lan.wireOf(a, b) === wire && lan.wireOf(b, a) === wire);
const RING = [
  [1, 2],
  [2, 3],
  [3, 4],
  [1, 4],
] as const;

/** Says it until it is heard: routes take a moment. */
async function reaches(lan: Fabrics, from: number, to: number, text: string): Promise<void> {
  await lan.until(() => {
    lan.at(from).say(to, text);
    return lan.at(to).heard().includes(text);
  });
}

test('links climb to the best wire, and frames go over links that are measured', async () => {
  await using lan = openFabrics(planOf('ring', [1, 2, 3, 4]));
  await lan.until(linked(lan, RING, 'direct'));
  await reaches(lan, 1, 3, 'hello');
  const [link] = lan.at(1).fabric.links();
  expect(link).toMatchObject({ from: 1, to: 2, wire: 'direct', reasons: {}, roundTripMs: 2, loss: 0 });
});

test('a link that is cut is gone around, and comes back', async () => {
  await using lan = openFabrics(planOf('ring', [1, 2, 3, 4]));
  await lan.until(linked(lan, RING, 'direct'));
  await reaches(lan, 1, 2, 'before');
  lan.at(1).fabric.setLink(2, { wires: [] });
  await lan.until(() => lan.wireOf(1, 2) === 'down');
  await reaches(lan, 1, 2, 'round');
  expect(
    lan
      .at(1)
      .fabric.links()
      .find(({ to }) => to === 2)?.reasons,
  ).toEqual({
    direct: 'not allowed by the job',
    webrtc: 'not allowed by the job',
    stanza: 'not allowed by the job',
  });
  lan.at(1).fabric.setLink(2, { wires: null });
  await lan.until(linked(lan, [[1, 2]], 'direct'));
});

test('a wire that breaks costs no frame that is said after it', async () => {
  await using lan = openFabrics(planOf('mesh', [1, 2]));
  await lan.until(linked(lan, [[1, 2]], 'direct'));
  await reaches(lan, 1, 2, 'before');
  await lan.pass(11_000);
  lan.works.clear();
  lan.cut(1, 2);
  await lan.pass(10);
  expect(lan.wireOf(1, 2)).toBe('down');
  for (const rung of ['direct', 'webrtc', 'stanza'] as const) lan.works.add(rung);
  await reaches(lan, 1, 2, 'after');
});

test('a silent machine is gone around within two seconds', async () => {
  await using lan = openFabrics(planOf('ring', [1, 2, 3, 4]));
  await lan.until(linked(lan, RING, 'direct'));
  await reaches(lan, 1, 3, 'hello');
  const via = lan
    .at(2)
    .fabric.links()
    .some(({ receivedBytes }) => receivedBytes > 0)
    ? 2
    : 4;
  lan.kill(via);
  const died = lan.clock.now();
  let n = 0;
  await lan.until(() => {
    lan.at(1).say(3, `try ${++n}`);
    return lan.at(3).heard().at(-1)!.startsWith('try');
  });
  expect(lan.clock.now() - died).toBeLessThan(2000);
});

test('notes that nobody has signed change nothing', async () => {
  const liar: Notary = { sign: () => new Uint8Array(64).fill(1), verify: () => true };
  const careful: Notary = { ...trustingNotary, verify: (_, __, signature) => signature[0] === 0 };
  await using lan = openFabrics(planOf('mesh', [1, 2]), (node) => (node === 1 ? liar : careful));
  await lan.until(linked(lan, [[1, 2]], 'direct'));
  await lan.pass(2000);
  lan.at(2).say(1, 'nobody there');
  await lan.pass(100);
  expect(lan.at(1).heard()).toEqual([]);
  expect(lan.at(2).fabric.drops()).toEqual({ unreachable: 1 });
});

test('a shaped link suffers, and routes do not flee from it', async () => {
  await using lan = openFabrics(planOf('mesh', [1, 2]));
  await lan.until(linked(lan, [[1, 2]], 'direct'));
  await reaches(lan, 1, 2, 'before');
  lan.at(1).fabric.setLink(2, { shape: { loss: 1 } });
  lan.at(1).say(2, 'lost');
  await lan.pass(5000);
  expect(lan.at(2).heard()).not.toContain('lost');
  expect(lan.at(1).fabric.links()[0]).toMatchObject({ wire: 'direct', loss: 0 });
  lan.at(1).fabric.setLink(2, { shape: null });
  lan.at(1).say(2, 'there');
  await lan.pass(100);
  expect(lan.at(2).heard()).toContain('there');
});

test('a hub without power is found out by its neighbours, and the next one takes its place', async () => {
  const star = { star: ['worker-1', 'worker-2'] };
  await using lan = openFabrics(planOf(star, [1, 2, 3, 4]));
  await lan.until(
    linked(
      lan,
      [
        [1, 2],
        [2, 3],
        [2, 4],
      ],
      'direct',
    ),
  );
  await reaches(lan, 1, 4, 'by worker-1');
  const places = [1, 2, 3, 4].map((node): Place => ({
    peer: jidOf(node),
    nick: `n${node}`,
    node,
    lease: `l${node}`,
    revision: 1,
    report: undefined,
  }));
  const lost: string[] = [];
  const suspicion = createSuspicion({
    ask: ((_: string, __: unknown, { timeoutMs }: { readonly timeoutMs: number }) =>
      new Promise((_resolve, reject) =>
        lan.clock.after(timeoutMs, () => reject(new KithError({ code: 'xmpp.timeout', message: 'no answer' }))),
      )) as unknown as Ask,
    places: () => places,
    lose(place) {
      lost.push(place.nick);
      places.splice(places.indexOf(place), 1);
      for (const { node } of places) lan.at(node).fabric.apply(planOf(star, [1, 3, 4], 2));
    },
    clock: lan.clock,
    signal: new AbortController().signal,
  });
  const stop = lan.clock.every(500, () => {
    for (const place of places.filter(({ node }) => node !== 2)) {
      place.report = { state: 'up', links: lan.at(place.node).fabric.links() };
      suspicion.heard(place);
    }
  });
  await lan.pass(1000);
  lan.kill(2);
  const died = lan.clock.now();
  await reaches(lan, 1, 4, 'by worker-2');
  stop();
  expect(lost).toEqual(['n2']);
  expect(lan.wireOf(3, 4)).not.toBe('down');
  // Links that nobody uses are found silent after 5 and 3 s, the standby after 4 more.
  expect(lan.clock.now() - died).toBeLessThan(13_000);
});

describe('what is watched', () => {
  test('a guest, as its interface sees it, and a link', async () => {
    await using lan = openFabrics(planOf('mesh', [1, 2]));
    await lan.until(linked(lan, [[1, 2]], 'direct'));
    await reaches(lan, 1, 2, 'before');
    const seen: string[] = [];
    lan
      .at(1)
      .fabric.tapOf()
      .watch((_, direction) => seen.push(`guest ${direction}`));
    lan
      .at(1)
      .fabric.tapOf(2)
      .watch((_, direction) => seen.push(`link ${direction}`));
    lan.at(1).say(2, 'x');
    await lan.pass(50);
    lan.at(2).say(1, 'y');
    await lan.pass(50);
    expect(seen).toEqual(['guest outbound', 'link outbound', 'link inbound', 'guest inbound']);
  });

  test('a link that is not there is an error that says so', async () => {
    await using lan = openFabrics(planOf('ring', [1, 2, 3, 4]));
    expect(() => lan.at(1).fabric.tapOf(3)).toThrow('node 1 has no link with node 3');
  });
});

describe('another plan', () => {
  test('who is no longer in it loses its links, who is new gets some', async () => {
    await using lan = openFabrics(planOf('star', [1, 2, 3]));
    await lan.until(
      linked(
        lan,
        [
          [1, 2],
          [1, 3],
        ],
        'direct',
      ),
    );
    const next = planOf('star', [1, 3], 2);
    for (const node of [1, 3]) lan.at(node).fabric.apply(next);
    expect(
      lan
        .at(1)
        .fabric.links()
        .map(({ to }) => to),
    ).toEqual([3]);
    lan.at(2).fabric.apply(planOf('star', [1, 2, 3], 3));
    lan.at(1).fabric.apply(planOf('star', [1, 2, 3], 3));
    await lan.until(
      linked(
        lan,
        [
          [1, 2],
          [1, 3],
        ],
        'direct',
      ),
    );
    await reaches(lan, 2, 1, 'again');
  });

  test('links to whom we cut off stay closed until a plan comes without them', async () => {
    await using lan = openFabrics(planOf('mesh', [1, 2]));
    await lan.until(linked(lan, [[1, 2]], 'direct'));
    lan.at(1).fabric.cut((peer) => peer.startsWith('node-2'));
    expect(lan.at(1).fabric.links()).toEqual([]);
    lan.at(1).fabric.apply(planOf('mesh', [1, 2], 2));
    expect(lan.at(1).fabric.links()).toEqual([]);
    lan.at(1).fabric.apply(planOf('mesh', [1], 3));
    lan.at(1).fabric.apply(planOf('mesh', [1, 2], 4));
    expect(lan.at(1).fabric.links()).toMatchObject([{ to: 2 }]);
  });
});

test('who takes over a place is heard at once, whatever was said there before', async () => {
  const who = (peer: string) => (peer === 'heir@x/1' ? 255 : Number(/\d+/.exec(peer)?.[0]));
  const peers = new Map([1, 2, 3].map((node) => [node, `node-${node}@x/1`]));
  const notary = (node: number): Notary => ({
    sign: () => new Uint8Array(64).fill(who(peers.get(node)!)),
    verify: (peer, _bytes, signature) => signature[0] === who(peer),
  });
  // First numbers of notes are random: the old peer's are high, its heir's low.
  using random = vi.spyOn(Math, 'random').mockReturnValue(0.9);
  await using lan = openFabrics(planOf({ edges: [['master', 'worker-1']] }, [1, 2, 3]), notary);
  await reaches(lan, 1, 2, 'before');
  random.mockReturnValue(0.1);
  peers.set(2, 'heir@x/1');
  const edges = {
    edges: [
      ['master', 'worker-1'],
      ['worker-1', 'worker-2'],
    ],
  } as const;
  await lan.replace(
    2,
    planOf(edges, [1, 2, 3], 2, (node) => peers.get(node)!),
  );
  await reaches(lan, 1, 3, 'after');
  await reaches(lan, 3, 1, 'and back');
  expect(lan.at(1).heard()).toContain('and back');
});
