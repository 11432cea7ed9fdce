/** Which conversation does a run belong to? A number of its first frame: equal for all frames of one flow in one direction. Hot path, no allocation. */
import { LENGTH_BYTES, MIN_FRAME_BYTES } from '../net/batch.ts';
import { u16At } from '../net/bytes.ts';
import type { Run } from '../net/port.ts';

const ETHERTYPE_AT = 12;
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const IPV6_HEADER_BYTES = 40;
const TCP = 6;
const UDP = 17;
const PORTS_BYTES = 4;
/** FNV-1a, 32 bits: spreads neighbouring ports and addresses well enough for a handful of connections. */
const BASIS = 0x811c9dc5;
const PRIME = 0x01000193;

/** MAC addresses and ethertype; of IP also addresses and protocol; of TCP and UDP also ports, where they are in the first frame. */
export function flowOf(run: Run): number {
  const start = LENGTH_BYTES;
  let hash = mix(BASIS, run, start, Math.min(start + MIN_FRAME_BYTES, run.length));
  const ip = start + MIN_FRAME_BYTES;
  if (run.length < ip + 20) return hash;
  const ethertype = u16At(run, start + ETHERTYPE_AT);
  if (ethertype === ETHERTYPE_IPV4) {
    const protocol = run[ip + 9]!;
    hash = mix(hash, run, ip + 9, ip + 10);
    hash = mix(hash, run, ip + 12, ip + 20);
    // A fragment may have no ports, so that none of its flow may count them; here only the first one would have.
    const isFragment = (u16At(run, ip + 6) & 0x3fff) !== 0;
    return isFragment ? hash : mixPorts(hash, run, protocol, ip + (run[ip]! & 0x0f) * 4);
  }
  if (ethertype === ETHERTYPE_IPV6 && run.length >= ip + IPV6_HEADER_BYTES) {
    hash = mix(hash, run, ip + 6, ip + 7);
    hash = mix(hash, run, ip + 8, ip + IPV6_HEADER_BYTES);
    return mixPorts(hash, run, run[ip + 6]!, ip + IPV6_HEADER_BYTES);
  }
  return hash;
}

const mixPorts = (hash: number, run: Run, protocol: number, at: number): number =>
  (protocol === TCP || protocol === UDP) && at + PORTS_BYTES <= run.length
    ? mix(hash, run, at, at + PORTS_BYTES)
    : hash;

function mix(hash: number, bytes: Uint8Array, from: number, to: number): number {
  let mixed = hash;
  for (let at = from; at < to; at++) mixed = Math.imul(mixed ^ bytes[at]!, PRIME);
  return mixed >>> 0;
}
