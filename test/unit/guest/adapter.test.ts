/** A QEMU without a machine, as a cable: what it is told to plug together. */
import { describe, expect, test } from 'vitest';
import { adapterArguments, type AdapterBackend } from '../../../src/guest/adapter.ts';

const STREAM = 'server=off,addr.type=unix,addr.path=/run/x';
const netdevs = (backend: AdapterBackend): string[] => {
  const args = adapterArguments(backend, STREAM);
  return args.filter((_, i) => args[i - 1] === '-netdev');
};

describe('the arguments of an adapter', () => {
  test('there is no machine, no device and no window', () => {
    expect(adapterArguments({ kind: 'user' }, STREAM).slice(0, 6)).toEqual([
      '-M',
      'none',
      '-no-user-config',
      '-nodefaults',
      '-display',
      'none',
    ]);
  });

  test('a hub joins what the host has with the socket of the port', () => {
    expect(netdevs({ kind: 'tap', ifname: 'kt1' })).toEqual([
      'tap,id=host,ifname=kt1,script=no,downscript=no',
      'hubport,id=a,hubid=0,netdev=host',
      `stream,id=lan,${STREAM}`,
      'hubport,id=b,hubid=0,netdev=lan',
    ]);
  });

  test.each([
    [{ kind: 'bridge', name: 'br0' }, 'bridge,id=host,br=br0'],
    [{ kind: 'vde', path: '/run/vde.ctl' }, 'vde,id=host,sock=/run/vde.ctl'],
    [{ kind: 'user' }, 'user,id=host'],
  ] as const)('%o', (backend, first) => {
    expect(netdevs(backend)[0]).toBe(first);
  });

  test('a comma in a name stays within its option', () => {
    expect(netdevs({ kind: 'vde', path: '/run/a,sock=/etc' })[0]).toBe('vde,id=host,sock=/run/a,,sock=/etc');
    expect(netdevs({ kind: 'tap', ifname: 'k,script=/x' })[0]).toContain('ifname=k,,script=/x,script=no');
  });

  test("QEMU may start no program, except where a bridge's helper is one", () => {
    expect(adapterArguments({ kind: 'tap', ifname: 'kt1' }, STREAM).join(' ')).toContain('-sandbox on,');
    expect(adapterArguments({ kind: 'bridge', name: 'br0' }, STREAM)).not.toContain('-sandbox');
  });
});
