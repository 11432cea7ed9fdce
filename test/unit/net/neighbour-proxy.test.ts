/** Questions for neighbours: answered at home for those who were heard, left to the LAN for all others. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeBatch, FLOOD, FRAMES, frames, runOf } from '../../../src/net/batch.ts';
import { createSwitch } from '../../../src/net/switch.ts';
import type { LiveEdge } from '../../../src/net/topology.ts';
import type { Batch } from '../../../src/net/wire.ts';
import { addressOf, macOf, runOfFrames } from '../../harness/frames.ts';
import { LAN, linksOf } from '../../harness/lan.ts';
import { createMemoryPort } from '../../harness/memory-port.ts';
import { arp, ethernet, ETHERTYPE, icmpv6, ipv4, ipv6, linkLocal, UNSPECIFIED } from '../../harness/packets.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const NODES = [1, 2, 3, 4];
const SOLICITED = '33:33:ff:00:00:03';

/** Node 1 of a line 1 - 2 - 3 - 4, with its guest. */
function home(
  edges: readonly LiveEdge[] = [
    [1, 2],
    [2, 3],
    [3, 4],
  ],
) {
  // prettier-ignore
  const clock = virtualClock();
  const sw = createSwitch({ node: 1, lan: LAN, clock });
  const port = createMemoryPort();
  const floods: Uint8Array[] = [];
  sw.attachPort(port);
  sw.attachWire(2, {
    rung: 'memory',
    maxBatch: 65_536,
    send: (batch: Batch) => floods.push(...[...frames(runOf(batch))].map((frame) => frame.slice())) > 0,
    stats: () => ({ sentBytes: 0, receivedBytes: 0, drops: 0, queuedBytes: 0 }),
    closed: new Promise(() => {}),
    async [Symbol.asyncDispose]() {},
  });
  const setEdges = (list: readonly LiveEdge[]) => {
    const directory = NODES.map((node) => ({ node, mac: macOf(node), address: addressOf(node) }));
    sw.setGraph({ epoch: 1, edges: list, links: linksOf([[1, 2]], 1), directory, server: 1 });
  };
  setEdges(edges);
  let sequence = 0;
  const header = { type: FRAMES, ttl: 3, lan: LAN, epoch: 1, life: 0 } as const;
  return {
    sw,
    port,
    clock,
    floods,
    setEdges,
    ask: (frame: Uint8Array) => sw.fromPort(runOfFrames(frame)),
    hear: (source: number, frame: Uint8Array) => {
      sw.fromWire(2, encodeBatch({ ...header, source, destination: FLOOD, sequence: sequence++ }, runOfFrames(frame)));
      port.frames.splice(0);
    },
  };
}

const speech = (node: number) =>
  ethernet(
    { from: macOf(node), type: ETHERTYPE.ipv4 },
    ipv4({ from: addressOf(node), to: addressOf(1), protocol: 1 }, []),
  );
const speech6 = (node: number) =>
  ethernet({ from: macOf(node), type: ETHERTYPE.ipv6 }, ipv6({ from: linkLocal(macOf(node)), next: 58 }, icmpv6(143)));
const question = (target: number, sender = addressOf(1)) =>
  ethernet({ from: macOf(1), type: ETHERTYPE.arp }, arp(1, macOf(1), sender, addressOf(target)));
const solicitation = (target: number, sender = linkLocal(macOf(1))) =>
  ethernet({ to: SOLICITED, from: macOf(1), type: ETHERTYPE.ipv6 }, ipv6({ from: sender, next: 58 }, icmpv6(135, linkLocal(macOf(target))))); // prettier-ignore

describe('a question for a neighbour', () => {
  test('by ARP is answered as the neighbour would, and goes nowhere else', () => {
    const { ask, hear, port, floods } = home();
    hear(3, speech(3));
    ask(question(3));
    const answer = ethernet(
      { to: macOf(1), from: macOf(3), type: ETHERTYPE.arp },
      arp(2, macOf(3), addressOf(3), addressOf(1)),
    );
    answer.set(Buffer.from(macOf(1).replaceAll(':', ''), 'hex'), 32);
    expect(floods).toEqual([]);
    expect(port.frames.map((frame) => Buffer.from(frame))).toEqual([Buffer.concat([answer, Buffer.alloc(18)])]);
  });

  test('by IPv6 is answered with an advertisement that any receiver takes', () => {
    const { ask, hear, port, floods } = home();
    hear(3, speech6(3));
    ask(solicitation(3));
    expect(floods).toEqual([]);
    const [frame] = port.frames.map((each) => Buffer.from(each));
    expect(frame!.toString('hex', 0, 14)).toBe(`${macOf(1)}${macOf(3)}86dd`.replaceAll(':', ''));
    expect([frame!.readUInt16BE(18), frame![20], frame![21], frame![54], frame![58]]).toEqual([32, 58, 255, 136, 0x60]);
    const own = Buffer.from(linkLocal(macOf(3))).toString('hex');
    expect([frame!.toString('hex', 22, 38), frame!.toString('hex', 62, 78)]).toEqual([own, own]);
    expect(frame!.toString('hex', 78)).toBe(`0201${macOf(3)}`.replaceAll(':', ''));
    // Addresses, length, protocol and message add up to nothing (RFC 1071).
    let sum = 32 + 58;
    for (let at = 22; at < frame!.length; at += 2) sum += frame!.readUInt16BE(at);
    expect(((sum & 0xffff) + (sum >>> 16)) % 0xffff).toBe(0);
  });

  const asked = (
    frame: Uint8Array,
    prepare: (lan: ReturnType<typeof home>) => void = ({ hear }) => {
      for (const node of [2, 3, 4]) for (const say of [speech, speech6]) hear(node, say(node));
    },
  ) => {
    const lan = home();
    prepare(lan);
    lan.ask(frame);
    return { answers: lan.port.frames.length, floods: lan.floods.length };
  };

  test.each([
    ['for the own address', question(1)],
    ['by one who looks for duplicates', question(3, '0.0.0.0')],
    ['by one who calls himself otherwise', question(3, '10.77.0.99')],
    ['for an address that nobody has', question(99)],
    [
      'for one neighbour alone',
      ethernet({ to: macOf(3), from: macOf(1), type: ETHERTYPE.arp }, arp(1, macOf(1), addressOf(1), addressOf(3))),
    ],
    [
      'in a VLAN',
      ethernet(
        { from: macOf(1), type: ETHERTYPE.arp, tags: [[ETHERTYPE.vlan, 5]] },
        arp(1, macOf(1), addressOf(1), addressOf(3)),
      ),
    ],
    [
      'that is an answer',
      ethernet({ from: macOf(1), type: ETHERTYPE.arp }, arp(2, macOf(1), addressOf(1), addressOf(3))),
    ],
    ['for the own IPv6 address', solicitation(1)],
    ['by IPv6 from one who looks for duplicates', solicitation(3, UNSPECIFIED)],
  ])('%s goes to the LAN', (_, frame) => {
    expect(asked(frame)).toEqual({ answers: 0, floods: 1 });
  });

  test.each([
    ['was never heard', () => {}],
    [
      'was heard, but not from its address',
      ({ hear }: ReturnType<typeof home>) =>
        hear(
          3,
          ethernet(
            { from: macOf(3), type: ETHERTYPE.ipv4 },
            ipv4({ from: '0.0.0.0', to: '255.255.255.255', protocol: 6 }, []),
          ),
        ),
    ],
    ['was heard by IPv6 alone', ({ hear }: ReturnType<typeof home>) => hear(3, speech6(3))],
    ['was heard 31 s ago', ({ hear, clock }: ReturnType<typeof home>) => (hear(3, speech(3)), clock.advance(31_000))],
    [
      'cannot be reached any more',
      ({ hear, setEdges }: ReturnType<typeof home>) => (hear(3, speech(3)), setEdges([[1, 2]])),
    ],
  ] as const)('for one who %s goes to the LAN', (_, prepare) => {
    expect(asked(question(3), prepare)).toEqual({ answers: 0, floods: 1 });
  });
});

test('whatever happens, only those are answered for who spoke within 30 s and can be reached', () => {
  const node = fc.constantFrom(2, 3, 4);
  const step = fc.oneof(
    fc.record({ do: fc.constant('speak' as const), node }),
    fc.record({ do: fc.constant('ask' as const), node }),
    fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 20_000 }) }),
    fc.record({ do: fc.constant('cut' as const), after: fc.constantFrom(1, 2, 3, 4) }),
  );
  let answered = 0;
  let flooded = 0;
  let wrong = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 10, maxLength: 40 }), (steps) => {
      const lan = home();
      const spoke = new Map<number, number>();
      let reach = 4;
      for (const now of steps) {
        if (now.do === 'wait') lan.clock.advance(now.ms);
        else if (now.do === 'cut') {
          reach = now.after;
          lan.setEdges(([[1, 2], [2, 3], [3, 4]] as const).filter(([, far]) => far <= reach)); // prettier-ignore
        } else if (now.do === 'speak') {
          if (now.node > reach) continue; // nothing comes from there
          lan.hear(now.node, speech(now.node));
          spoke.set(now.node, lan.clock.now());
        } else {
          lan.port.frames.splice(0);
          lan.ask(question(now.node));
          const isThere = now.node <= reach && lan.clock.now() - (spoke.get(now.node) ?? -Infinity) <= 30_000;
          wrong += lan.port.frames.length === (isThere ? 1 : 0) ? 0 : 1;
          if (isThere) answered++;
          else flooded++;
        }
      }
      expect(wrong).toBe(0);
    }),
    { numRuns: 500, seed: 7 },
  );
  expect(Math.min(answered, flooded)).toBeGreaterThan(100);
});
