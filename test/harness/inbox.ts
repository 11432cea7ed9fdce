/** Collects what arrives and lets a test wait for it. */

export interface Inbox {
  /** Copies, in order of arrival. */
  readonly items: readonly Uint8Array[];
  readonly take: (item: Uint8Array) => void;
  /** Resolves once so many have arrived in all. */
  readonly until: (count: number) => Promise<readonly Uint8Array[]>;
}

export function createInbox(): Inbox {
  const items: Uint8Array[] = [];
  const waiters = new Set<() => void>();
  return {
    items,
    take(item) {
      items.push(new Uint8Array(item)); // slice() of a Buffer is a view
      for (const waiter of waiters) waiter();
    },
    async until(count) {
      while (items.length < count) {
        await new Promise<void>((resolve) => {
          const waiter = () => {
            waiters.delete(waiter);
            resolve();
          };
          waiters.add(waiter);
        });
      }
      return items;
    },
  };
}
