/** Leases: only their holder uses them, renewed ones live on, others expire exactly once. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createLeaseTable, type Lease } from '../../../src/job/lease.ts';
import { virtualClock } from '../../harness/virtual-clock.ts';

const TERMS = { job: 'job-0001', jobName: 'mesh', holder: 'a@x/1', memoryMiB: 100, cpus: 1, imageHash: 'a'.repeat(64) };

describe('lease table', () => {
  test('expires at its end, not before, and only once', () => {
    const clock = virtualClock();
    const expired: Lease[] = [];
    const table = createLeaseTable({ clock, onExpired: (lease) => expired.push(lease) });
    const lease = table.grant(TERMS, 10);
    clock.advance(9_999);
    expect(expired).toEqual([]);
    clock.advance(1);
    expect(expired).toEqual([lease]);
    clock.advance(100_000);
    expect(expired).toHaveLength(1);
    expect(() => table.renew(lease.id, TERMS.holder, 10)).toThrow(/no such lease/);
  });

  test('is of no use to anybody but its holder', () => {
    const table = createLeaseTable({ clock: virtualClock(), onExpired: () => {} });
    const lease = table.grant(TERMS, 10);
    expect(() => table.check(lease.id, 'b@x/1')).toThrow(/no such lease/);
    expect(() => table.renew(lease.id, 'a@x/2', 10)).toThrow(/no such lease/);
    expect(table.check(lease.id, 'a@x/1')).toEqual(lease);
  });

  test('any mix of renewals and time: alive exactly until the last renewal runs out', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 1, max: 15 })), { maxLength: 30 }),
        (steps) => {
          const clock = virtualClock();
          let ended = 0;
          const table = createLeaseTable({ clock, onExpired: () => ended++ });
          const lease = table.grant(TERMS, 10);
          let until = 10;
          let now = 0;
          for (const [wait, seconds] of steps) {
            clock.advance(wait * 1000);
            now += wait;
            if (now >= until) break;
            table.renew(lease.id, TERMS.holder, seconds);
            until = now + seconds;
          }
          clock.advance(Math.max(0, until - now) * 1000 - 1);
          expect(now < until ? ended : 0).toBe(0);
          clock.advance(1);
          expect(ended).toBe(1);
          expect(table.leases).toEqual([]);
        },
      ),
    );
  });
});
