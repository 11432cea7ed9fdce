/** Small words for tests of the XMPP room. */
import { xml } from '@xmpp/client';
import { KithError } from '../../src/base/errors.ts';
import type { Capacity } from '../../src/protocol/capacity.ts';
import type { Session } from '../../src/xmpp/session.ts';

/** For vi.waitFor: conditions that come true by themselves, on a busy machine too. */
export const soon = { timeout: 30_000, interval: 5 };

/** The code of the error that a promise rejects with. */
export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no error',
    (error: unknown) => (error instanceof KithError ? error.code : String(error)),
  );

export const capacityOf = (more: Partial<Capacity> = {}): Capacity => ({
  software: 'kith/0.1.0',
  protocol: 1,
  role: 'worker',
  cpus: 2,
  memoryMiB: 1024,
  diskMiB: 4096,
  arch: 'x86_64',
  accelerator: 'tcg',
  confinement: ['namespaces', 'seccomp'],
  guests: 0,
  accepts: true,
  ...more,
});

/** Everything that these sessions sent before has reached every other one of them: servers keep the order per stream. */
export async function settle(...sessions: readonly Session[]): Promise<void> {
  for (let round = 0; round < 2; round++) {
    await Promise.all(
      sessions.map((session) => session.request(undefined, 'get', xml('ping', { xmlns: 'urn:xmpp:ping' }))),
    );
  }
}
