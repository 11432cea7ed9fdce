/** The bench's own arithmetic: what iperf3, ping and the kernel print becomes rows, ratios, a table and a chart. */
import { describe, expect, test } from 'vitest';
import { chartOf } from '../../bench/overlay/chart.ts';
import { parseStat } from '../../bench/overlay/cpu.ts';
import { median, megabits, parseIperf, parsePing, quantile, ratiosOf, rowOf } from '../../bench/overlay/figures.ts';
import { requireRoot } from '../../bench/overlay/site.ts';
import { tableOf } from '../../bench/overlay/table.ts';

const row = (name: string, mtu: number, mbps: number, cpuPerGB = 8, rttP50 = 0.1) => ({
  name,
  mtu,
  mbps,
  cpuPerGB,
  rttP50,
  rttP99: 1,
});

describe('what programs print', () => {
  test('iperf3: what the receiver got counts', () => {
    const end = { sum_sent: { bytes: 900, seconds: 1 }, sum_received: { bytes: 250_000_000, seconds: 2 } };
    const transfer = parseIperf(JSON.stringify({ start: {}, end }));
    expect(transfer).toEqual({ bytes: 250_000_000, seconds: 2 });
    expect(megabits(transfer)).toBe(1000);
  });

  test('iperf3: an error is an error, and so is a result that is missing', () => {
    expect(() => parseIperf('{"end":{},"error":"unable to connect"}')).toThrow('unable to connect');
    expect(() => parseIperf('{"end":{}}')).toThrow('no result');
  });

  test('ping: one round trip per answer, of iputils and of busybox', () => {
    const text = [
      'PING 10.98.0.2 (10.98.0.2) 56(84) bytes of data.',
      '64 bytes from 10.98.0.2: icmp_seq=1 ttl=64 time=0.310 ms',
      '64 bytes from 10.98.0.2: seq=1 ttl=64 time=12 ms',
      'rtt min/avg/max/mdev = 0.310/0.310/0.310/0.000 ms',
    ].join('\n');
    expect(parsePing(text)).toEqual([0.31, 12]);
  });

  test('/proc/<pid>/stat: user, system and that of ended children, whatever the process is called', () => {
    const fields = ['S', 1, 1, 1, 0, -1, 0, 9, 9, 9, 9, 150, 250, 30, 70, 20, 0];
    expect(parseStat(`42 (a name) with (parentheses)) ${fields.join(' ')}`)).toBe(5);
  });
});

describe('figures', () => {
  test('the median is in the middle, or between the two in the middle', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([])).toBeNaN();
  });

  test('a quantile is one of the values', () => {
    const values = Array.from({ length: 100 }, (_, i) => 100 - i);
    expect([quantile(values, 0.5), quantile(values, 0.99), quantile([7], 0.99)]).toEqual([50, 99, 7]);
  });

  test('a row has medians of its turns, and the quantiles of all pings together', () => {
    const samples = [
      { mbps: 100.04, cpuPerGB: 3, roundTrips: [0.1, 0.2] },
      { mbps: 900, cpuPerGB: 9, roundTrips: [5] },
      { mbps: 200, cpuPerGB: 4, roundTrips: [0.3] },
    ];
    expect(rowOf('tinc', 1500, samples)).toEqual({
      name: 'tinc',
      mtu: 1500,
      mbps: 200,
      cpuPerGB: 4,
      rttP50: 0.2,
      rttP99: 5,
    });
  });
});

describe('ratios', () => {
  const rows = [
    row('kith-direct', 1500, 1000),
    row('kith-direct', 9000, 3000),
    row('kith-webrtc', 1500, 400),
    row('kith-switch', 1500, 950, 8, 0.15),
    row('tinc', 1500, 250, 16),
    row('fastd', 1400, 500),
    row('fastd', 9000, 1500),
    row('veth', 1500, 10_000),
    row('qemu-unix', 1500, 1000, 8, 0.1),
  ];

  test('at 1500 like is compared with like, at 9000 each peer counts with its best', () => {
    const ratios = ratiosOf(rows);
    expect(ratios['direct-1500']).toMatchObject({
      fastestPeer: 2,
      tinc: 4,
      fastd: 2,
      'veth-1500': 0.1,
      cpuPerGBToTinc: 0.5,
    });
    expect(ratios['direct-9000']).toMatchObject({ fastestPeer: 2, fastd: 2, tinc: 12 });
    expect(ratios['webrtc-1500']).toMatchObject({ fastestPeer: 0.8, tinc: 1.6 });
  });

  test('the switch is held against one direct socket, round trip included', () => {
    expect(ratiosOf(rows)['switch']).toEqual({ '1500': 0.95, 'addedRttP50-1500': 0.05 });
  });

  test('what was not measured has no ratio', () => {
    expect(ratiosOf([row('kith-direct', 1500, 1000)])).toEqual({});
    expect(ratiosOf([row('tinc', 1500, 1000)])).toEqual({});
  });
});

describe('what people see', () => {
  const rows = [
    row('kith-direct', 1500, 1000),
    row('fastd', 1400, 500),
    row('veth', 1500, 10_000),
    row('kith-direct', 9000, 3000),
  ];

  test('the table has a line for each row, for each ratio and for each cost', () => {
    const text = tableOf(rows, ratiosOf(rows), [{ what: 'idle direct link', value: '126 bytes/s' }]);
    expect(text).toMatch(/^kith-direct +1500 +1000 +8\.00 +0\.100 +1\.000$/m);
    expect(text).toMatch(/^direct-1500 +fastestPeer 2, fastd 2, veth-1500 0\.1$/m);
    expect(text).toContain('idle direct link: 126 bytes/s');
  });

  test('the chart has a bar for each row but the bare veth, longest first, and colours for dark pages', () => {
    const svg = chartOf([...rows, row('<&"', 1500, 2000)]);
    const bars = [...svg.matchAll(/<rect class="(\w+)"[^>]* width="(\d+)"/g)].map(([, kind, width]) => [
      kind,
      Number(width),
    ]);
    expect(bars.map(([kind]) => kind)).toEqual(['peer', 'kith', 'peer', 'kith']);
    expect(bars.slice(0, 3).map(([, width]) => width)).toEqual(
      bars
        .slice(0, 3)
        .map(([, width]) => width)
        .sort((a, b) => Number(b) - Number(a)),
    );
    expect(svg).toContain('prefers-color-scheme:dark');
    expect(svg).toContain('&lt;&amp;&quot;');
    expect(svg).toContain('fastd (1400)');
  });

  test('who is not root is told what to do', () => {
    expect(() => requireRoot(1000)).toThrow(
      expect.objectContaining({ code: 'bench.not-root', hint: 'run it again as root: sudo npm run bench' }),
    );
    expect(() => requireRoot(0)).not.toThrow();
  });
});
