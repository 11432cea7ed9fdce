/** Which addresses a peer may name, which of our own we name, and which of the peer's we try first. Pure. */
import { BlockList, isIP } from 'node:net';
import type { NetworkInterfaceInfo } from 'node:os';

/** A literal address and a TCP port. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** What `os.networkInterfaces()` says. */
export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/** One signal names at most this many: a host has one or two interfaces with an IPv4 and a few IPv6 addresses each. */
export const MAX_ENDPOINTS = 8;

/*
 * A friend names addresses, and we dial them. What is left to one who means ill, once he is trusted enough to share a LAN with us:
 * per attempt, eight TCP connections with a TLS ClientHello in each, from our machine to addresses and ports that he chose, our own
 * LAN included, and what he learns of it is what he sees arrive at his own. Ports below 1024 of private addresses are not dialled
 * (printers, routers and mail servers listen there); nor is our loopback, unless we listen there alone, as tests and demos do.
 * Two peers on one host need no loopback: the kernel keeps what goes to its own LAN address to itself.
 */
const NEVER = listOf(
  ['0.0.0.0', 8], // "this network", RFC 1122
  ['169.254.0.0', 16], // link-local; clouds keep their credentials there
  ['192.0.0.0', 24], // IETF protocol assignments
  ['224.0.0.0', 4], // multicast
  ['240.0.0.0', 4], // reserved, and broadcast
  ['::', 8], // unspecified, and IPv4 in disguise: mapped, translated, NAT64
  ['2001::', 32], // IPv4 behind Teredo
  ['2002::', 16], // IPv4 behind 6to4
  ['fe80::', 10], // link-local: means nothing without the interface
  ['fec0::', 10], // site-local, deprecated
  ['ff00::', 8], // multicast
);
const LOOPBACK = listOf(['127.0.0.0', 8], ['::1', 128]);
const PRIVATE = listOf(
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['100.64.0.0', 10], // behind a carrier's NAT
  ['fc00::', 7],
);
const FIRST_PRIVATE_PORT = 1024;

/** Bridges of containers and guests: the same addresses on every other host. */
const INNER = /^(docker|br-|virbr|vnet|veth|lxc|lxd|cni|podman|tap|kube)/;

const isLoopback = (host: string): boolean => isIP(host) !== 0 && within(LOOPBACK, host);
const isNowhere = (host: string): boolean =>
  isIP(host) === 0 || host.includes('%') || (within(NEVER, host) && !within(LOOPBACK, host));

/** Reachable from everywhere, if its routers and firewalls agree. */
export const isPublic = (host: string): boolean => !isNowhere(host) && !isLoopback(host) && !within(PRIVATE, host);

/** May this come in a signal at all? Whether it is dialled is another question. */
export const isEndpoint = ({ host, port }: Endpoint): boolean =>
  !isNowhere(host) && Number.isInteger(port) && port >= 1 && port <= 65_535;

/** `203.0.113.5:4000` or `[2001:db8::5]:4000`; undefined for anything else. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const [, v6, v4, port] = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15})):(\d{1,5})$/.exec(text) ?? [];
  const endpoint = { host: v6 ?? v4 ?? '', port: Number(port) };
  return isEndpoint(endpoint) ? endpoint : undefined;
}

export const formatEndpoint = ({ host, port }: Endpoint): string =>
  isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;

/** What we tell a peer: where we listen, then where a router passes on to us. Loopback only where there is nothing else. */
export function ownEndpoints(options: {
  readonly interfaces: Interfaces;
  /** Where the listener is bound; without it, everywhere. */
  readonly bindAddress?: string | undefined;
  readonly port: number;
  readonly announce: readonly Endpoint[];
}): Endpoint[] {
  const { interfaces, bindAddress, port, announce } = options;
  const everywhere = bindAddress === undefined || isWildcard(bindAddress);
  const found = Object.entries(interfaces)
    .sort(([a], [b]) => Number(INNER.test(a)) - Number(INNER.test(b)))
    .flatMap(([, addresses]) => addresses ?? [])
    .map(({ address }) => address)
    .filter((host) => !isNowhere(host) && (bindAddress !== '0.0.0.0' || isIP(host) === 4));
  const outside = found.filter((host) => !isLoopback(host));
  const hosts = everywhere ? (outside.length > 0 ? outside : found) : [bindAddress];
  const most = MAX_ENDPOINTS - Math.min(announce.length, MAX_ENDPOINTS / 2);
  // IPv4 first: a host has many IPv6 addresses, for privacy, and each of them does.
  const listening = hosts.toSorted((a, b) => isIP(a) - isIP(b)).slice(0, most);
  return [...listening.map((host) => ({ host, port })), ...announce].slice(0, MAX_ENDPOINTS);
}

/** Those of the peer's addresses that we dial, the nearest first: this host, this LAN, IPv6, others. Announced ones come last in a signal and stay there. */
export function dialOrder(options: {
  readonly candidates: readonly Endpoint[];
  readonly interfaces: Interfaces;
  readonly bindAddress?: string | undefined;
  /** Our own addresses, as we told them. */
  readonly own: readonly Endpoint[];
}): Endpoint[] {
  const { candidates, interfaces, bindAddress, own } = options;
  const nearby = Object.values(interfaces).flatMap((addresses) => addresses ?? []);
  const onLoopback = own.length > 0 && own.every(({ host }) => isLoopback(host));
  const bound = bindAddress === undefined || isWildcard(bindAddress) ? undefined : isIP(bindAddress);
  const rank = ({ host }: Endpoint): number => {
    if (isLoopback(host) || nearby.some(({ address }) => address === host)) return 0;
    if (nearby.some(({ cidr }) => cidr !== null && isNear(cidr, host))) return 1;
    return isIP(host) === 6 ? 2 : 3;
  };
  const seen = new Set<string>();
  return candidates
    .filter((endpoint) => {
      const { host, port } = endpoint;
      const key = formatEndpoint(endpoint);
      if (!isEndpoint(endpoint) || seen.has(key)) return false;
      seen.add(key);
      if (isLoopback(host) && !onLoopback) return false;
      if (port < FIRST_PRIVATE_PORT && within(PRIVATE, host)) return false;
      return bound === undefined || bound === isIP(host);
    })
    .toSorted((a, b) => rank(a) - rank(b))
    .slice(0, MAX_ENDPOINTS);
}

export const isWildcard = (address: string): boolean => address === '0.0.0.0' || address === '::';

function isNear(cidr: string, host: string): boolean {
  const [network = '', prefix = ''] = cidr.split('/');
  return isIP(network) === isIP(host) && within(listOf([network, Number(prefix)]), host);
}

interface Subnets {
  readonly ipv4: BlockList;
  readonly ipv6: BlockList;
}

/** One list for each family: BlockList takes any IPv4 address for one of the IPv4-mapped subnet, and a mapped one for IPv4. */
function listOf(...subnets: readonly (readonly [network: string, prefix: number])[]): Subnets {
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const [network, prefix] of subnets) lists[family(network)].addSubnet(network, prefix, family(network));
  return lists;
}

function within(lists: Subnets, host: string): boolean {
  return lists[family(host)].check(host, family(host));
}

function family(host: string): 'ipv4' | 'ipv6' {
  return isIP(host) === 6 ? 'ipv6' : 'ipv4';
}
