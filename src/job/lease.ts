/** Leases as their host sees them: granted, renewed, ended or expired. Pure but for the injected clock. */
import type { Clock } from '../base/clock.ts';
import { KithError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';

export interface Lease {
  readonly id: string;
  readonly job: string;
  readonly jobName: string;
  /** Full JID: only this peer may use the lease. */
  readonly holder: string;
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly imageHash: string;
}

export interface LeaseTable {
  readonly leases: readonly Lease[];
  grant(terms: Omit<Lease, 'id'>, seconds: number): Lease;
  renew(id: string, holder: string, seconds: number): void;
  /** The lease, if it exists and `holder` holds it; otherwise `job.no-lease`. */
  check(id: string, holder: string): Lease;
  /** Gives it back; false if there was none. */
  end(id: string): boolean;
  /** Forgets all timers. */
  close(): void;
}

export function createLeaseTable(options: {
  readonly clock: Clock;
  readonly onExpired: (lease: Lease) => void;
}): LeaseTable {
  const { clock, onExpired } = options;
  const entries = new Map<string, { readonly lease: Lease; cancel: () => void }>();

  const arm = (lease: Lease, seconds: number) =>
    clock.after(seconds * 1000, () => {
      entries.delete(lease.id);
      onExpired(lease);
    });

  const find = (id: string, holder: string) => {
    const entry = entries.get(id);
    // One answer for "unknown" and "not yours": a stranger learns nothing about leases of others.
    if (entry?.lease.holder !== holder) {
      throw new KithError({
        code: 'job.no-lease',
        message: 'there is no such lease (it ended, expired, or is not yours)',
        retry: 'never',
      });
    }
    return entry;
  };

  return {
    get leases() {
      return [...entries.values()].map(({ lease }) => lease);
    },
    grant(terms, seconds) {
      const lease = { ...terms, id: newId() };
      entries.set(lease.id, { lease, cancel: arm(lease, seconds) });
      return lease;
    },
    renew(id, holder, seconds) {
      const entry = find(id, holder);
      entry.cancel();
      entry.cancel = arm(entry.lease, seconds);
    },
    check: (id, holder) => find(id, holder).lease,
    end(id) {
      entries.get(id)?.cancel();
      return entries.delete(id);
    },
    close() {
      for (const { cancel } of entries.values()) cancel();
      entries.clear();
    },
  };
}
