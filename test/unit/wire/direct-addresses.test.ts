/** Addresses: what a peer may name, what we name, what we dial first. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  dialOrder,
  formatEndpoint,
  isEndpoint,
  ownEndpoints,
  parseEndpoint,
  type Interfaces,
} from '../../../src/wire/addresses.ts';

const network = (address: string, prefix: number) => ({
  address,
  cidr: `${address}/${prefix}`,
  netmask: '',
  mac: '00:00:00:00:00:00',
  internal: address.startsWith('127.') || address === '::1',
  ...(address.includes(':') ? { family: 'IPv6' as const, scopeid: 0 } : { family: 'IPv4' as const }),
});

const HOME: Interfaces = {
  lo: [network('127.0.0.1', 8), network('::1', 128)],
  docker0: [network('172.17.0.1', 16)],
  eth0: [network('192.168.1.2', 24), network('2001:db8:1::2', 64), network('fe80::2', 64)],
};
const at = (...hosts: readonly string[]) => hosts.map((host) => ({ host, port: 4000 }));
const hostsOf = (endpoints: readonly { readonly host: string }[]) => endpoints.map(({ host }) => host);

describe('a peer may name', () => {
  test.each(['10.0.0.1', '192.168.1.2', '203.0.113.5', '127.0.0.1', '::1', '2001:db8::1', 'fd00::1'])('%s', (host) => {
    expect(isEndpoint({ host, port: 4000 })).toBe(true);
  });

  test.each([
    '',
    'evil.example',
    '127.1',
    '0x7f000001',
    '1.2.3',
    '1.2.3.4.5',
    ' 10.0.0.1',
    '10.0.0.1/8',
    'fe80::1%eth0',
    '2001:db8::1%1',
    '0.0.0.0',
    '0.1.2.3',
    '169.254.169.254',
    '224.0.0.1',
    '239.1.1.1',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::ffff:127.0.0.1',
    '::ffff:10.0.0.1',
    '::7f00:1',
    '0:0:0:0:0:ffff:7f00:1',
    '::ffff:0:127.0.0.1',
    '64:ff9b::7f00:1',
    '2002:7f00:1::',
    '2001:0:1::',
    'fe80::1',
    'febf::1',
    'fec0::1',
    'ff02::1',
  ])('not %j', (host) => {
    expect(isEndpoint({ host, port: 4000 })).toBe(false);
  });

  test.each([0, -1, 65_536, 1.5, Number.NaN])('no port %d', (port) => {
    expect(isEndpoint({ host: '10.0.0.1', port })).toBe(false);
  });

  test('no address that is IPv4 in another dress, however it is written', () => {
    fc.assert(
      fc.property(fc.ipV4(), (v4) => {
        const [a, b, c, d] = v4.split('.').map(Number) as [number, number, number, number];
        const hex = `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
        for (const host of [`::${v4}`, `::ffff:${v4}`, `::ffff:${hex}`, `64:ff9b::${hex}`, `2002:${hex}::1`])
          expect(isEndpoint({ host, port: 4000 })).toBe(false);
      }),
    );
  });
});

describe('we name', () => {
  test('what others reach: IPv4 first, bridges of containers after cables, loopback never', () => {
    expect(hostsOf(ownEndpoints({ interfaces: HOME, port: 4000, announce: [] }))).toEqual([
      '192.168.1.2',
      '172.17.0.1',
      '2001:db8:1::2',
    ]);
  });

  test('the announced ones last, and always', () => {
    const many = { eth0: Array.from({ length: 20 }, (_, i) => network(`10.0.0.${i + 1}`, 24)) };
    const own = ownEndpoints({ interfaces: many, port: 4000, announce: [{ host: '203.0.113.5', port: 5000 }] });
    expect(own).toHaveLength(8);
    expect(own.at(-1)).toEqual({ host: '203.0.113.5', port: 5000 });
  });

  test('the one that we are bound to, and no IPv6 where we listen to IPv4 alone', () => {
    const options = { interfaces: HOME, port: 4000, announce: [] };
    expect(hostsOf(ownEndpoints({ ...options, bindAddress: '10.9.8.7' }))).toEqual(['10.9.8.7']);
    expect(hostsOf(ownEndpoints({ ...options, bindAddress: '0.0.0.0' }))).toEqual(['192.168.1.2', '172.17.0.1']);
  });

  test('loopback where there is nothing else', () => {
    expect(hostsOf(ownEndpoints({ interfaces: { lo: HOME['lo'] }, port: 4000, announce: [] }))).toEqual([
      '127.0.0.1',
      '::1',
    ]);
  });
});

describe('we dial', () => {
  const own = at('192.168.1.2');
  const order = (...hosts: readonly string[]) =>
    hostsOf(dialOrder({ candidates: at(...hosts), interfaces: HOME, own }));

  test('this host, then this LAN, then IPv6, then the rest, announced ones last', () => {
    expect(order('198.51.100.7', '2001:db8:2::7', '192.168.1.7', '192.168.1.2', '203.0.113.5')).toEqual([
      '192.168.1.2',
      '192.168.1.7',
      '2001:db8:2::7',
      '198.51.100.7',
      '203.0.113.5',
    ]);
  });

  test('loopback only if we listen nowhere else', () => {
    expect(order('127.0.0.1', '::1')).toEqual([]);
    expect(dialOrder({ candidates: at('127.0.0.1'), interfaces: HOME, own: at('127.0.0.1') })).toHaveLength(1);
    expect(dialOrder({ candidates: at('127.0.0.1'), interfaces: HOME, own: [] })).toEqual([]);
  });

  test('no well-known port of a private address', () => {
    const candidates = [
      { host: '192.168.1.1', port: 80 },
      { host: '100.64.0.1', port: 1023 },
      { host: 'fd00::1', port: 443 },
      { host: '203.0.113.5', port: 443 },
      { host: '192.168.1.1', port: 1024 },
    ];
    expect(dialOrder({ candidates, interfaces: HOME, own }).map(formatEndpoint)).toEqual([
      '192.168.1.1:1024',
      '203.0.113.5:443',
    ]);
  });

  test('each once, and only what our address can reach', () => {
    expect(order('203.0.113.5', '203.0.113.5')).toEqual(['203.0.113.5']);
    const bound = { candidates: at('203.0.113.5', '2001:db8::5'), interfaces: HOME, own, bindAddress: '10.9.8.7' };
    expect(hostsOf(dialOrder(bound))).toEqual(['203.0.113.5']);
  });
});

test('addresses are written as people write them', () => {
  expect(parseEndpoint('203.0.113.5:4000')).toEqual({ host: '203.0.113.5', port: 4000 });
  expect(parseEndpoint('[2001:db8::5]:4000')).toEqual({ host: '2001:db8::5', port: 4000 });
  for (const text of [
    '203.0.113.5',
    '2001:db8::5:4000',
    'a.example:4000',
    '203.0.113.5:0',
    '203.0.113.5:65536',
    '[fe80::1]:1',
  ])
    expect(parseEndpoint(text)).toBeUndefined();
  for (const text of ['203.0.113.5:4000', '[2001:db8::5]:4000'])
    expect(formatEndpoint(parseEndpoint(text)!)).toBe(text);
});
