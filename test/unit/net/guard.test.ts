/** The guards: honest traffic always passes, lies never do, neither from our guest nor from a hostile peer. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeBatch, FLOOD, FRAMES } from '../../../src/net/batch.ts';
import type { DropReason } from '../../../src/net/counters.ts';
import { createSwitch } from '../../../src/net/switch.ts';
import type { Batch, Wire } from '../../../src/net/wire.ts';
import { addressOf, macOf, runOfFrames } from '../../harness/frames.ts';
import { LAN } from '../../harness/lan.ts';
import { createMemoryPort } from '../../harness/memory-port.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';
import * as packets from '../../harness/packets.ts';
import {
  arp,
  ethernet,
  ETHERTYPE,
  fragment,
  icmpv6,
  ipv4,
  ipv6,
  linkLocal,
  OPTIONS,
  udp,
} from '../../harness/packets.ts';

const MASTER = 1;
const WORKER = 2;
const VICTIM = 3;
const { ipv4: IPV4, arp: ARP, ipv6: IPV6, vlan: VLAN, qinq: QINQ } = ETHERTYPE;
const MULTICAST = '33:33:00:00:00:01';

/** Tells what becomes of frames that node `from` sends: at its own switch, and at the victim's if its peer lets everything out. */
function lan(from: number, without: readonly DropReason[] = []) {
  const build = (node: number) => {
    const sw = createSwitch({ node, lan: LAN, clock: virtualClock(), without: new Set(without) });
    const nodes = [MASTER, WORKER, VICTIM];
    sw.setGraph({
      epoch: 1,
      edges: [[from, VICTIM]],
      links: [from, VICTIM],
      directory: nodes.map((other) => ({ node: other, mac: macOf(other), address: addressOf(other) })),
      server: MASTER,
    });
    return sw;
  };
  const atHome = build(from);
  const sent: Batch[] = [];
  atHome.attachWire(VICTIM, recorder(sent));
  const abroad = build(VICTIM);
  const port = createMemoryPort();
  abroad.attachPort(port);
  let sequence = 0;
  return {
    atHome,
    abroad,
    sent,
    heard: port.frames,
    fromGuest: (...frames: Uint8Array[]) => atHome.fromPort(runOfFrames(...frames)),
    fromPeer: (...frames: Uint8Array[]): void => {
      const header = {
        type: FRAMES,
        ttl: 3,
        source: from,
        lan: LAN,
        epoch: 1,
        life: 0,
        sequence: sequence++,
      } as const;
      abroad.fromWire(from, encodeBatch({ ...header, destination: FLOOD }, runOfFrames(...frames)));
    },
  };
}

const of = (node: number, type: number, payload: packets.Bytes, more: Partial<packets.Ethernet> = {}) =>
  ethernet({ from: macOf(node), type, ...more }, payload);
const ip = (node: number, protocol: number, payload: packets.Bytes, more: Partial<packets.Ipv4> = {}) =>
  ipv4({ from: addressOf(node), to: addressOf(VICTIM), protocol, ...more }, payload);
const ip6 = (node: number, next: number, payload: packets.Bytes, extensions: packets.Ipv6['extensions'] = []) =>
  ipv6({ from: linkLocal(macOf(node)), next, extensions }, payload);

const OFFER = ip(WORKER, 17, udp(67, 68));
const ADVERTISEMENT = ip6(WORKER, 58, icmpv6(134));

const lies: readonly (readonly [string, Uint8Array, DropReason])[] = [
  ['another place’s MAC address', ethernet({ from: macOf(MASTER), type: IPV4 }, OFFER), 'forged'],
  ['a made-up MAC address', ethernet({ from: '02:99:99:99:99:99', type: ARP }, []), 'forged'],
  ['a multicast source', ethernet({ from: '03:6b:00:00:00:02', type: ARP }, []), 'forged'],
  [
    'an ARP answer for the master',
    of(WORKER, ARP, arp(2, macOf(WORKER), addressOf(MASTER), addressOf(VICTIM))),
    'false-neighbour',
  ],
  [
    'a gratuitous ARP for the master',
    of(WORKER, ARP, arp(1, macOf(WORKER), addressOf(MASTER), addressOf(MASTER))),
    'false-neighbour',
  ],
  [
    'an ARP question as the master',
    of(WORKER, ARP, arp(1, macOf(WORKER), addressOf(MASTER), addressOf(VICTIM))),
    'false-neighbour',
  ],
  [
    'an ARP answer with somebody else’s MAC',
    of(WORKER, ARP, arp(2, macOf(MASTER), addressOf(WORKER), addressOf(VICTIM))),
    'false-neighbour',
  ],
  [
    'ARP for another hardware type, which Linux takes too',
    of(WORKER, ARP, arp(2, macOf(WORKER), addressOf(MASTER), '0.0.0.0').with(1, 6)),
    'unreadable',
  ],
  [
    'ARP that is cut off',
    of(WORKER, ARP, arp(2, macOf(WORKER), addressOf(MASTER), '0.0.0.0').slice(0, 20)),
    'unreadable',
  ],
  ['the master’s IP address', of(WORKER, IPV4, ip(MASTER, 6, [])), 'stolen-address'],
  ['the master’s IPv6 address', of(WORKER, IPV6, ip6(MASTER, 6, [])), 'stolen-address'],
  [
    'a neighbour advertisement for the master',
    of(WORKER, IPV6, ip6(WORKER, 58, icmpv6(136, linkLocal(macOf(MASTER))))),
    'false-neighbour',
  ],
  ['a DHCP offer', of(WORKER, IPV4, OFFER), 'rogue-server'],
  ['a DHCP offer from another port', of(WORKER, IPV4, ip(WORKER, 17, udp(1234, 68))), 'rogue-server'],
  ['a DHCP offer behind IP options', of(WORKER, IPV4, ip(WORKER, 17, udp(67, 68), { options: 10 })), 'rogue-server'],
  [
    'a DHCP offer in a first fragment',
    of(WORKER, IPV4, ip(WORKER, 17, udp(67, 68), { fragment: 0x2000 })),
    'rogue-server',
  ],
  ['UDP that is cut off before its ports', of(WORKER, IPV4, ip(WORKER, 17, [0, 67])), 'unreadable'],
  ['IP whose header length is a lie', of(WORKER, IPV4, OFFER.with(0, 0x44)), 'unreadable'],
  [
    'a DHCP offer in VLAN 0, which guests take for no VLAN',
    of(WORKER, IPV4, OFFER, { tags: [[VLAN, 0]] }),
    'rogue-server',
  ],
  [
    'a DHCP offer in a VLAN in a VLAN',
    of(WORKER, IPV4, OFFER, {
      tags: [
        [QINQ, 0],
        [VLAN, 0],
      ],
    }),
    'rogue-server',
  ],
  [
    'a DHCP offer in three VLANs',
    of(WORKER, IPV4, OFFER, {
      tags: [
        [QINQ, 0],
        [VLAN, 0],
        [VLAN, 0],
      ],
    }),
    'unreadable',
  ],
  [
    'an ARP lie in VLAN 0',
    of(WORKER, ARP, arp(2, macOf(WORKER), addressOf(MASTER), '0.0.0.0'), { tags: [[VLAN, 0]] }),
    'false-neighbour',
  ],
  ['a DHCP offer in SNAP', of(WORKER, 200, [0xaa, 0xaa, 3, 0, 0, 0, 8, 0, ...OFFER]), 'unreadable'],
  ['a DHCPv6 answer', of(WORKER, IPV6, ip6(WORKER, 17, udp(547, 546))), 'rogue-server'],
  ['a router advertisement', of(WORKER, IPV6, ADVERTISEMENT), 'rogue-server'],
  ['a router’s redirect', of(WORKER, IPV6, ip6(WORKER, 58, icmpv6(137))), 'rogue-server'],
  [
    'a router advertisement behind options',
    of(
      WORKER,
      IPV6,
      ip6(WORKER, 58, icmpv6(134), [
        [0, OPTIONS],
        [60, OPTIONS],
      ]),
    ),
    'rogue-server',
  ],
  [
    'a router advertisement in a first fragment',
    of(WORKER, IPV6, ip6(WORKER, 58, icmpv6(134), [[44, fragment(0, true)]])),
    'rogue-server',
  ],
  [
    'a first fragment that ends before its ports',
    of(WORKER, IPV6, ip6(WORKER, 17, [2], [[44, fragment(0, true)]])),
    'unreadable',
  ],
  ['a neighbour advertisement without its target', of(WORKER, IPV6, ip6(WORKER, 58, icmpv6(136))), 'unreadable'],
  ['a first fragment without anything', of(WORKER, IPV6, ip6(WORKER, 58, [], [[44, fragment(0, true)]])), 'unreadable'],
  [
    'a router advertisement behind ten headers',
    of(
      WORKER,
      IPV6,
      ip6(
        WORKER,
        58,
        icmpv6(134),
        Array.from({ length: 10 }, () => [60, OPTIONS] as const),
      ),
    ),
    'unreadable',
  ],
];

describe.each(lies)('a worker sends %s', (_, lie, reason) => {
  test('its own switch drops it', () => {
    const { atHome, sent, fromGuest } = lan(WORKER);
    fromGuest(lie);
    expect([sent, dropped(atHome)]).toEqual([[], { [reason]: 1 }]);
  });

  test('with a hostile peer, the victim’s switch drops it', () => {
    const { abroad, heard, fromPeer } = lan(WORKER);
    fromPeer(lie);
    expect([heard, dropped(abroad)]).toEqual([[], { [reason]: 1 }]);
  });

  test('without the guard it arrives', () => {
    const { sent, heard, fromGuest, fromPeer } = lan(WORKER, [reason]);
    fromGuest(lie);
    fromPeer(lie);
    expect([sent.length, heard]).toEqual([1, [lie]]);
  });
});

const honest = (node: number): readonly (readonly [string, Uint8Array])[] => [
  ['an ARP question', of(node, ARP, arp(1, macOf(node), addressOf(node), addressOf(VICTIM)))],
  [
    'an ARP answer, padded',
    of(node, ARP, [...arp(2, macOf(node), addressOf(node), addressOf(VICTIM)), ...Array<number>(18).fill(0)]),
  ],
  ['an ARP probe', of(node, ARP, arp(1, macOf(node), '0.0.0.0', addressOf(node)))],
  [
    'an ARP answer for an address of its own making',
    of(node, ARP, arp(2, macOf(node), '10.77.0.200', addressOf(VICTIM))),
  ],
  [
    'a DHCP question without an address',
    of(node, IPV4, ipv4({ from: '0.0.0.0', to: '255.255.255.255', protocol: 17 }, udp(68, 67))),
  ],
  ['a DHCP renewal', of(node, IPV4, ip(node, 17, udp(68, 67)), { to: macOf(VICTIM) })],
  ['a ping', of(node, IPV4, ip(node, 1, [8, 0, 0, 0]), { to: macOf(VICTIM) })],
  ['TCP', of(node, IPV4, ip(node, 6, Array<number>(40).fill(0)), { to: macOf(VICTIM) })],
  ['TCP between the ports of DHCP', of(node, IPV4, ip(node, 6, udp(67, 68)), { to: macOf(VICTIM) })],
  ['DNS', of(node, IPV4, ip(node, 17, udp(40_000, 53)), { to: macOf(VICTIM) })],
  ['mDNS', of(node, IPV4, ip(node, 17, udp(5353, 5353)), { to: '01:00:5e:00:00:fb' })],
  ['a later fragment, whatever it holds', of(node, IPV4, ip(node, 17, udp(67, 68), { fragment: 0x00b9 }))],
  ['what it routes for others', of(node, IPV4, ipv4({ from: '192.168.5.5', to: addressOf(VICTIM), protocol: 6 }, []))],
  ['a tagged ping', of(node, IPV4, ip(node, 1, [8, 0, 0, 0]), { tags: [[VLAN, 5]] })],
  [
    'IPv6 address detection',
    of(node, IPV6, ipv6({ from: packets.UNSPECIFIED, next: 58 }, icmpv6(135, linkLocal(macOf(node)))), {
      to: MULTICAST,
    }),
  ],
  [
    'an IPv6 neighbour question',
    of(node, IPV6, ip6(node, 58, icmpv6(135, linkLocal(macOf(VICTIM)))), { to: MULTICAST }),
  ],
  [
    'an IPv6 neighbour answer',
    of(node, IPV6, ip6(node, 58, icmpv6(136, linkLocal(macOf(node)))), { to: macOf(VICTIM) }),
  ],
  ['a router solicitation', of(node, IPV6, ip6(node, 58, icmpv6(133)), { to: MULTICAST })],
  ['a multicast report behind options', of(node, IPV6, ip6(node, 58, icmpv6(143), [[0, OPTIONS]]), { to: MULTICAST })],
  ['a DHCPv6 question', of(node, IPV6, ip6(node, 17, udp(546, 547)), { to: MULTICAST })],
  ['IPv6 without a next header', of(node, IPV6, ip6(node, 59, []))],
  ['a spanning tree’s BPDU', of(node, 38, [0x42, 0x42, 3, ...Array<number>(35).fill(0)])],
  ['an ethertype of its own', of(node, 0x88b5, [])],
];

const served: readonly (readonly [string, Uint8Array])[] = [
  ['a DHCP offer', of(MASTER, IPV4, ip(MASTER, 17, udp(67, 68)))],
  ['a DHCP acknowledgement to one guest', of(MASTER, IPV4, ip(MASTER, 17, udp(67, 68)), { to: macOf(VICTIM) })],
  ['a DHCPv6 answer', of(MASTER, IPV6, ip6(MASTER, 17, udp(547, 546)))],
  ['a router advertisement', of(MASTER, IPV6, ip6(MASTER, 58, icmpv6(134)))],
];

test.each([
  ...honest(WORKER).map(([name, frame]) => [`a worker’s: ${name}`, WORKER, frame] as const),
  ...[...honest(MASTER), ...served].map(([name, frame]) => [`the master’s: ${name}`, MASTER, frame] as const),
])('passes, %s', (_, node, frame) => {
  const { atHome, abroad, sent, heard, fromGuest, fromPeer } = lan(node);
  fromGuest(frame);
  fromPeer(frame);
  expect([sent.length, heard, dropped(atHome), dropped(abroad)]).toEqual([1, [frame], {}, {}]);
});

describe('any bytes', () => {
  const nodes = fc.constantFrom(MASTER, WORKER, VICTIM);
  const mac = fc.oneof(
    { weight: 4, arbitrary: fc.constant(macOf(WORKER)) },
    { weight: 1, arbitrary: nodes.map(macOf) },
  );
  const address = fc.oneof(nodes.map(addressOf), fc.constantFrom('0.0.0.0', '10.77.0.99'));
  const port = fc.constantFrom(67, 68, 546, 547, 53, 40_000);
  const transport = fc.oneof(
    fc.tuple(port, port).map(([from, to]) => [17, udp(from, to)] as const),
    fc
      .tuple(fc.constantFrom(133, 134, 135, 136, 137), nodes)
      .map(([type, node]) => [58, icmpv6(type, linkLocal(macOf(node)))] as const),
    fc.constant([6, Array<number>(20).fill(0)] as const),
  );
  const extension = fc.constantFrom(
    ...([0, 60, 43] as const).map((kind) => [kind, OPTIONS] as const),
    [44, fragment(0, true)] as const,
    [51, [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] as const,
  );
  const body = fc.oneof(
    fc
      .tuple(fc.constantFrom(1, 2), mac, address)
      .map(([op, sender, senderIp]) => [ARP, arp(op, sender, senderIp, addressOf(VICTIM))] as const),
    fc
      .tuple(transport, address, fc.constantFrom(0, 0x2000, 0x4000), fc.nat({ max: 10 }))
      .map(
        ([[protocol, payload], from, part, options]) =>
          [IPV4, ipv4({ from, to: addressOf(VICTIM), protocol, fragment: part, options }, payload)] as const,
      ),
    fc
      .tuple(transport, nodes, fc.array(extension, { maxLength: 10 }))
      .map(([[next, payload], node, extensions]) => [IPV6, ip6(node, next, payload, extensions)] as const),
    fc.uint8Array({ maxLength: 80 }).map((bytes) => [IPV4, [...bytes]] as const),
  );
  const tags = fc.array(fc.constantFrom([VLAN, 0] as const, [QINQ, 0] as const, [VLAN, 5] as const), { maxLength: 4 });
  const snap = fc.integer({ min: 0, max: 9 }).map((chance) => chance === 0);
  const change = fc.record({
    cut: fc.oneof(fc.constant(Infinity), fc.integer({ min: 14, max: 120 })),
    flips: fc.oneof(
      fc.constant([]),
      fc.array(fc.tuple(fc.integer({ min: 6, max: 90 }), fc.nat({ max: 255 })), { maxLength: 3 }),
    ),
  });
  const frame = fc.tuple(mac, body, tags, snap, change).map(([from, [type, payload], vlans, wrap, { cut, flips }]) => {
    const bytes = wrap
      ? ethernet({ from, type: 100, tags: vlans }, [0xaa, 0xaa, 3, 0, 0, 0, type >> 8, type & 255, ...payload])
      : ethernet({ from, type, tags: vlans }, payload);
    for (const [at, value] of flips) if (at < bytes.length) bytes[at] = value;
    return bytes.subarray(0, cut);
  });

  test('of a worker: no foreign source, no server’s word, no false neighbour gets through, at home or abroad', () => {
    let passed = 0;
    fc.assert(
      fc.property(frame, (bytes) => {
        const { sent, heard, fromGuest, fromPeer } = lan(WORKER);
        fromGuest(bytes);
        fromPeer(bytes);
        expect(sent.length).toBe(heard.length); // one judgement at both ends
        for (const arrived of heard) {
          passed++;
          expect(lieOf(arrived)).toBeUndefined();
        }
      }),
      { numRuns: 5000, seed: 7 },
    );
    expect(passed).toBeGreaterThan(500);
  });

  test('the same without the guards would have brought lies', () => {
    let lied = 0;
    fc.assert(
      fc.property(frame, (bytes) => {
        const { heard, fromPeer } = lan(WORKER, [
          'forged',
          'false-neighbour',
          'stolen-address',
          'rogue-server',
          'unreadable',
        ]);
        fromPeer(bytes);
        if (heard.some((arrived) => lieOf(arrived) !== undefined)) lied++;
      }),
      { numRuns: 1000, seed: 7 },
    );
    expect(lied).toBeGreaterThan(200);
  });

  test('of any kind and length never throw', () => {
    const { atHome, abroad, sent, heard, fromGuest } = lan(WORKER);
    const header = { type: FRAMES, ttl: 3, source: WORKER, lan: LAN, epoch: 1, life: 0 } as const;
    let sequence = 0;
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.constantFrom(IPV4, ARP, IPV6, VLAN), (bytes, type) => {
        const bare = ethernet({ from: macOf(WORKER), type }, [...bytes]);
        for (const run of [runOfFrames(bare), bytes]) {
          atHome.fromPort(run);
          abroad.fromWire(WORKER, encodeBatch({ ...header, destination: VICTIM, sequence: sequence++ }, run));
        }
      }),
      { numRuns: 3000 },
    );
    const ping = of(WORKER, IPV4, ip(WORKER, 1, [8, 0, 0, 0]), { to: macOf(VICTIM) });
    fromGuest(ping);
    expect(sent.at(-1)).toEqual(expect.objectContaining({ length: 16 + 4 + ping.length }));
    abroad.fromWire(WORKER, encodeBatch({ ...header, destination: VICTIM, sequence }, runOfFrames(ping)));
    expect(heard.at(-1)).toEqual(ping);
  });
});

/** What the most credulous receiver would understand: unwraps any number of tags, SNAP and headers. Written apart from the guards. */
function lieOf(bytes: Uint8Array): string | undefined {
  const hex = Buffer.from(bytes).toString('hex');
  const planned = new Map(
    [MASTER, VICTIM].map((node) => [
      addressOf(node)
        .split('.')
        .map((n) => Number(n).toString(16).padStart(2, '0'))
        .join(''),
      node,
    ]),
  );
  const own = macOf(WORKER).replaceAll(':', '');
  if (hex.slice(12, 24) !== own) return 'foreign source';
  let rest = hex.slice(24);
  while (/^(8100|88a8|9100)/.test(rest)) rest = rest.slice(8);
  const snap = /^0[0-5]..aaaa03000000(.*)$/.exec(rest);
  if (snap) rest = snap[1]!;
  const at = (from: number, count: number) => rest.slice(4 + from * 2, 4 + (from + count) * 2);
  const number = (from: number, count: number) => Number.parseInt(at(from, count) || '0', 16);
  const serves = (from: number) => [67, 547].includes(number(from, 2)) || [68, 546].includes(number(from + 2, 2));
  switch (rest.slice(0, 4)) {
    case '0806':
      if (at(0, 28).length < 56 || at(2, 2) !== '0800') return undefined;
      return at(8, 6) !== own || planned.has(at(14, 4)) ? 'false neighbour' : undefined;
    case '0800': {
      const length = number(0, 1) & 15;
      if (number(0, 1) >> 4 !== 4 || length < 5) return undefined;
      if (planned.has(at(12, 4))) return 'stolen address';
      return number(9, 1) === 17 && (number(6, 2) & 0x1fff) === 0 && serves(length * 4) ? 'DHCP' : undefined;
    }
    case '86dd': {
      let next = number(6, 1);
      let here = 40;
      while ([0, 43, 44, 51, 60].includes(next) && at(here, 8).length === 16) {
        if (next === 44 && number(here + 2, 2) >> 3 !== 0) return undefined;
        const size = next === 44 ? 8 : next === 51 ? (number(here + 1, 1) + 2) * 4 : (number(here + 1, 1) + 1) * 8;
        next = number(here, 1);
        here += size;
      }
      if (next === 17) return serves(here) ? 'DHCPv6' : undefined;
      if (next !== 58) return undefined;
      const others = [MASTER, VICTIM].map((node) => Buffer.from(linkLocal(macOf(node))).toString('hex'));
      if (number(here, 1) === 136 && others.includes(at(here + 8, 16))) return 'false neighbour';
      return [134, 137].includes(number(here, 1)) ? 'router' : undefined;
    }
    default:
      return undefined;
  }
}

const dropped = (sw: ReturnType<typeof createSwitch>) =>
  Object.fromEntries(Object.entries(sw.stats().dropped).filter(([, count]) => count > 0));

function recorder(sent: Batch[]): Wire {
  return {
    rung: 'memory',
    maxBatch: 65_536,
    send: (batch) => sent.push(batch.slice()) > 0,
    stats: () => ({ sentBytes: 0, receivedBytes: 0, drops: 0, queuedBytes: 0 }),
    closed: new Promise(() => {}),
    async [Symbol.asyncDispose]() {},
  };
}
