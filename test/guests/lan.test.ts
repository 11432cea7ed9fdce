/** Guests of one LAN, joined by a plain relay in this process: leases, names, and the way in by ssh. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunningGuest } from '../../src/guest/guest.ts';
import { openTestLan, sh, until, type TestLan } from '../harness/guest.ts';

describe('a master guest and two workers', () => {
  let lan: TestLan;
  let master: RunningGuest;
  let first: RunningGuest;
  let second: RunningGuest;
  beforeAll(async () => {
    lan = await openTestLan(4);
    [first, second, master] = await Promise.all([lan.boot(1), lan.boot(2), lan.boot(0)]);
    for (const worker of [first, second]) await until(worker, 'ip -o -4 addr show dev eth0 | grep -q inet');
  });
  afterAll(async () => {
    await lan[Symbol.asyncDispose]();
  });

  it('gives each worker the address of the plan', async () => {
    expect(await sh(first, 'ip -o -4 addr show dev eth0')).toContain('inet 10.77.0.2/24');
    expect(await sh(second, 'ip -o -4 addr show dev eth0')).toContain('inet 10.77.0.3/24');
  });

  it('knows every place by name, also among workers', async () => {
    expect(await sh(master, 'ping -c 1 -W 5 worker-2')).toContain('10.77.0.3');
    expect(await sh(second, 'ping -c 1 -W 5 worker-1')).toContain('10.77.0.2');
    expect(await sh(first, 'ping -c 1 -W 5 master')).toContain('10.77.0.1');
  });

  it('tells workers the names by DNS alone: from the server and with the domain of the lease', async () => {
    expect(await sh(first, 'cat /etc/resolv.conf')).toBe('search kith\nnameserver 10.77.0.1\n');
    expect(await sh(first, 'cat /etc/hosts')).not.toMatch(/worker-2|master/);
    for (const name of ['worker-2', 'worker-2.kith']) {
      expect(await sh(first, `nslookup -type=a ${name}`)).toMatch(
        /Name:\s+worker-2(\.kith)?\nAddress:? \d*:? ?10\.77\.0\.3\n/,
      );
    }
    expect(await sh(first, 'nslookup 10.77.0.3')).toContain('worker-2.kith');
    expect(await sh(first, 'ping -c 1 -W 5 worker-2')).toContain('10.77.0.3');
    // Through the resolver of glibc, as programs of a stock image would ask.
    expect(await sh(first, 'nmap -sL worker-2')).toContain('Nmap scan report for worker-2 (10.77.0.3)');
  });

  it('answers for places that are still free, and says at once that there is no other name', async () => {
    expect(await sh(second, 'nslookup -type=a worker-3')).toContain('10.77.0.4');
    for (const name of ['worker-9', 'debian.org']) {
      const unknown = await second.exec(['nslookup', name], { timeoutMs: 60_000 });
      expect(unknown.exitCode).not.toBe(0);
      expect(unknown.stdout.toString()).toContain('NXDOMAIN');
    }
  });

  it('lets the master in by ssh without a question, and with its exit code', async () => {
    expect(await sh(master, 'ssh worker-1 hostname')).toBe('worker-1\n');
    expect(await sh(master, 'ssh -o StrictHostKeyChecking=no root@worker-2 "hostname; echo -o x"')).toBe(
      'worker-2\n-o x\n',
    );
    expect((await master.exec(['ssh', 'worker-1', 'exit 3'], { timeoutMs: 60_000 })).exitCode).toBe(3);
  });

  it('lets nobody else in', async () => {
    const refused = await first.exec(['ssh', 'worker-2', 'hostname'], { timeoutMs: 60_000 });
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stdout.toString()).toBe('');
  });

  it('finds all hosts in a sweep', async () => {
    const report = await sh(master, 'nmap -n -sn 10.77.0.0/24', 120_000);
    expect(report.match(/scan report for \S+/g)?.sort()).toEqual(
      ['1', '2', '3'].map((last) => `scan report for 10.77.0.${last}`),
    );
  });

  it('gives a late comer its address too', async () => {
    const late = await lan.boot(3);
    await until(late, 'ip -o -4 addr show dev eth0 | grep -q 10.77.0.4/24');
    expect(await sh(master, 'ssh worker-3 hostname')).toBe('worker-3\n');
  });

  it('has no address for a machine that is not in the plan', async () => {
    // With an empty table of leases: a full one would hide an address that is free for anybody.
    await sh(master, 'kill $(pidof udhcpd); while pidof udhcpd; do sleep 0.1; done; : >/run/udhcpd.leases');
    await sh(master, 'udhcpd /etc/udhcpd.conf >/dev/null 2>&1');
    await sh(second, 'kill $(pidof udhcpc); ip link set eth0 down; ip link set eth0 address 52:54:00:00:00:77 up');
    // Four seconds a question: udhcpd takes two to probe an address of a pool before it offers it.
    const asked = 'udhcpc -n -q -f -i eth0 -t 2 -T 4 -s /bin/true';
    const stranger = await second.exec(['sh', '-c', `${asked} 2>&1`], { timeoutMs: 60_000 });
    expect([stranger.exitCode, stranger.stdout.toString()]).toEqual([1, expect.stringContaining('no lease')]);
    // The same question with the planned MAC is answered, so the silence was not the line's.
    await sh(second, `ip link set eth0 down; ip link set eth0 address 52:54:00:00:00:03 up; ${asked}`);
  });
});
