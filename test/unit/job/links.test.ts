/** Links of a running job: from the words of a script to what the peers at both ends are told, and what that does to frames. */
import { describe, expect, test } from 'vitest';
import type { Ask } from '../../../src/job/guest-client.ts';
import { createLinks } from '../../../src/job/links.ts';
import type { Place } from '../../../src/job/membership.ts';
import { parseRequest, type RequestOf } from '../../../src/protocol/messages.ts';
import { jidOf, openFabrics, planOf } from '../../harness/fabric.ts';

const place = (node: number, lease = `lease-${node}`, peer = jidOf(node)): Place => ({
  peer,
  node,
  lease,
  nick: peer,
  revision: 1,
  report: undefined,
});

function open(topology: Parameters<typeof planOf>[0], nodes: readonly number[]) {
  const asked: [peer: string, request: RequestOf<'link.set'>][] = [];
  const places = nodes.map((node) => place(node));
  const ask = async (to: string, request: RequestOf<'link.set'>) => {
    asked.push([to, parseRequest(JSON.parse(JSON.stringify(request))) as RequestOf<'link.set'>]);
    return {};
  };
  const plan = planOf(topology, nodes);
  const links = createLinks({
    ask: ask as unknown as Ask,
    plan: () => plan,
    places: () => places,
    signal: new AbortController().signal,
  });
  const told = () =>
    asked
      .splice(0)
      .map(([to, { lease, node, wires, shape }]) => [to, lease, node, JSON.parse(JSON.stringify({ wires, shape }))]);
  return { links, places, told };
}

describe('a link', () => {
  test('is shaped both ways alike, each end for what it sends', async () => {
    const { links, told } = open('mesh', [1, 2, 3]);
    const link = links.link('worker-1', 'worker-2');
    await link.shape({ rate: '10mbit', delay: '20ms', jitter: 5, loss: '1%' });
    const shape = { rate: 1e7, delayMs: 20, jitterMs: 5, loss: 0.01 };
    expect(told()).toEqual([
      [jidOf(2), 'lease-2', 3, { shape }],
      [jidOf(3), 'lease-3', 2, { shape }],
    ]);
    expect(link.status().map(({ guest, wire, shape: text }) => [guest, wire, text])).toEqual([
      ['worker-1', 'unknown', 'rate 10mbit delay 20ms jitter 5ms loss 1%'],
      ['worker-2', 'unknown', 'rate 10mbit delay 20ms jitter 5ms loss 1%'],
    ]);
    await link.clear();
    expect(told().map(([, , , order]) => order)).toEqual([{ shape: null }, { shape: null }]);
  });

  test('is shaped one way, or each way by itself', async () => {
    const { links, told } = open('mesh', [1, 2, 3]);
    const link = links.link('worker-2', 'worker-1');
    await link.shape({ there: { loss: '100%' } });
    expect(told()).toEqual([[jidOf(3), 'lease-3', 2, { shape: { loss: 1 } }]]);
    await link.shape({ there: null, back: { delay: '1s' } });
    expect(told()).toEqual([
      [jidOf(3), 'lease-3', 2, { shape: null }],
      [jidOf(2), 'lease-2', 3, { shape: { delayMs: 1000 } }],
    ]);
  });

  test('gets its wires chosen, cut and restored at both ends', async () => {
    const { links, told } = open('star', [1, 2]);
    const link = links.link('master', 'worker-1');
    await link.wires(['webrtc', 'stanza']);
    await link.cut();
    expect(link.status().map(({ wires }) => wires)).toEqual([[], []]);
    await link.restore();
    expect(told().map(([, , , order]) => order)).toEqual([
      { wires: ['webrtc', 'stanza'] },
      { wires: ['webrtc', 'stanza'] },
      { wires: [] },
      { wires: [] },
      { wires: null },
      { wires: null },
    ]);
    expect(link.status().map(({ wires }) => wires)).toEqual([undefined, undefined]);
  });

  test('that the topology does not have is refused, with those that there are', () => {
    const { links } = open('star', [1, 2, 3]);
    for (const [a, b] of [
      ['worker-1', 'worker-2'],
      ['master', 'master'],
      ['master', 'worker-9'],
    ] as const) {
      expect(() => links.link(a, b)).toThrow(
        expect.objectContaining({
          code: 'job.no-link',
          message: `there is no link ${a} - ${b}`,
          hint: 'the links are master - worker-1, master - worker-2',
        }),
      );
    }
  });

  test('is told nothing that is wrong, not even in half', async () => {
    const { links, told } = open('star', [1, 2]);
    const link = links.link('master', 'worker-1');
    await expect(link.shape({ there: { delay: '20ms' }, back: { delay: 'long' } })).rejects.toThrow(/delay long/);
    await expect(link.shape({ there: {}, delay: '20ms' })).rejects.toMatchObject({ code: 'shape.invalid' });
    await expect(link.wires(['memory' as 'direct'])).rejects.toMatchObject({ code: 'job.no-wire' });
    await expect(link.wires(['direct', 'direct'])).rejects.toMatchObject({ code: 'job.no-wire' });
    expect(told()).toEqual([]);
  });

  test('whose guest has gone says so', async () => {
    const { links, places } = open('star', [1, 2]);
    const link = links.link('master', 'worker-1');
    places.pop();
    await expect(link.cut()).rejects.toMatchObject({
      code: 'job.no-guest',
      message: expect.stringMatching(/worker-1/),
    });
  });

  test('is as it was set also where another peer takes over', async () => {
    const { links, places, told } = open('star', [1, 2, 3]);
    await links.link('master', 'worker-1').shape({ delay: '20ms' });
    await links.link('master', 'worker-1').cut();
    told();
    for (const each of places) await links.renew(each);
    expect(told()).toEqual([]);
    // Somebody else in the place of worker-1: the link is a new one at both ends.
    places[1] = place(2, 'lease-new', 'new@x/1');
    for (const each of places) await links.renew(each);
    expect(told()).toEqual([
      [jidOf(1), 'lease-1', 2, { shape: { delayMs: 20 }, wires: [] }],
      ['new@x/1', 'lease-new', 1, { shape: { delayMs: 20 }, wires: [] }],
    ]);
    for (const each of places) await links.renew(each);
    expect(told()).toEqual([]);
  });
});

describe('frames on a shaped link', () => {
  test('come late by so much, in that direction alone, and are seen when they leave', async () => {
    await using lan = openFabrics(planOf('mesh', [1, 2]));
    await lan.until(() => lan.wireOf(1, 2) === 'direct' && lan.wireOf(2, 1) === 'direct');
    await lan.until(() => {
      lan.at(1).say(2, 'first');
      return lan.at(2).heard().includes('first');
    });
    await lan.pass(100);
    const seen: string[] = [];
    for (const node of [1, 2]) {
      const { fabric } = lan.at(node);
      fabric.tapOf().watch((_, direction) => seen.push(`guest ${node} ${direction}`));
      fabric.tapOf(3 - node).watch((_, direction) => seen.push(`link at ${node} ${direction}`));
    }
    lan.at(1).fabric.setLink(2, { shape: { delayMs: 500 } });
    const start = lan.clock.now();
    lan.at(1).say(2, 'late');
    await lan.pass(450);
    expect(seen).toEqual(['guest 1 outbound']);
    await lan.until(() => lan.at(2).heard().includes('late'));
    expect(lan.clock.now() - start).toBeGreaterThanOrEqual(500);
    expect(seen).toEqual(['guest 1 outbound', 'link at 1 outbound', 'link at 2 inbound', 'guest 2 inbound']);

    lan.at(2).say(1, 'back');
    await lan.pass(50);
    expect(lan.at(1).heard()).toContain('back');
  });

  test('are lost, and the link stays where it is: hellos are not', async () => {
    await using lan = openFabrics(planOf('mesh', [1, 2]));
    await lan.until(() => lan.wireOf(1, 2) === 'direct' && lan.wireOf(2, 1) === 'direct');
    lan.at(1).fabric.setLink(2, { shape: { loss: 1 } });
    for (let i = 0; i < 50; i++) {
      lan.at(1).say(2, 'lost');
      await lan.pass(200);
    }
    expect(lan.at(2).heard()).not.toContain('lost');
    expect(lan.wireOf(1, 2)).toBe('direct');
    lan.at(1).fabric.setLink(2, { shape: null });
    lan.at(1).say(2, 'well');
    await lan.pass(50);
    expect(lan.at(2).heard()).toContain('well');
  });

  test('wait for the next wire when theirs breaks', async () => {
    await using lan = openFabrics(planOf('mesh', [1, 2]));
    await lan.until(() => lan.wireOf(1, 2) === 'direct' && lan.wireOf(2, 1) === 'direct');
    await lan.pass(11_000);
    lan.at(1).fabric.setLink(2, { shape: { delayMs: 2000 } });
    lan.at(1).say(2, 'patient');
    lan.works.delete('direct');
    lan.cut(1, 2);
    await lan.until(() => lan.wireOf(1, 2) !== 'direct' && lan.wireOf(1, 2) !== 'down');
    await lan.pass(2000);
    expect(lan.at(2).heard()).toContain('patient');
  });

  test('of a link that the plan does not have cannot be had', async () => {
    await using lan = openFabrics(planOf('star', [1, 2, 3]));
    expect(() => lan.at(2).fabric.setLink(3, { shape: null })).toThrow(
      expect.objectContaining({ code: 'job.no-link' }),
    );
    expect(() => lan.at(2).fabric.tapOf(3)).toThrow(expect.objectContaining({ code: 'job.no-link' }));
  });
});
