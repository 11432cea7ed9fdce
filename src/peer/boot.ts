/** From a plan's guest to one that runs here: image, host facts, a run directory of its own, and their end. */
import { openRunDirectory } from '../base/guard.ts';
import type { Log } from '../base/log.ts';
import { bootGuest } from '../guest/guest.ts';
import type { HostFacts } from '../guest/probe.ts';
import type { ImageExchange } from '../job/images.ts';
import type { WorkerDeps } from '../job/worker.ts';

export function createBoot(options: {
  /** Our full JID. */
  readonly self: string;
  readonly runDirectory: string;
  readonly cacheDirectory: string;
  readonly images: ImageExchange;
  /** Master keys of jobs that start here, by job. */
  readonly privateKeys: ReadonlyMap<string, string>;
  /** What this machine can do; an accelerator counts only once a kernel has spoken under it. */
  readonly host: (kernel: string) => Promise<HostFacts>;
  readonly log: Log;
}): WorkerDeps['boot'] {
  return async ({ plan, guest, diskMiB, onRun, onState, onConsole, signal }) => {
    const image = await options.images.ensure(guest.image, plan, signal);
    const host = await options.host(image.kernel);
    onState('booting');
    const { subnet, mtu, slots } = plan.lan;
    // Only for a job of our own: whoever else plans a master guest here does not get the key of ours.
    const own = guest.role === 'master' && plan.job.initiator === options.self;
    const key = own ? options.privateKeys.get(plan.job.id) : undefined;
    const run = await openRunDirectory(options.runDirectory, 'g-');
    try {
      const running = await bootGuest({
        name: guest.name,
        image,
        memoryMiB: guest.memoryMiB,
        cpus: guest.cpus,
        config: {
          role: guest.role,
          hostname: guest.name,
          mac: guest.mac,
          address: guest.address,
          subnet,
          mtu,
          slots,
          masterKey: plan.masterKey,
          ...(key ? { masterPrivateKey: key } : {}),
        },
        run,
        // The runtime directory is often a small tmpfs; a disk may grow.
        diskDirectory: options.cacheDirectory,
        diskMiB,
        host,
        onRun,
        onConsole,
        log: options.log,
        signal,
      });
      const dispose = running[Symbol.asyncDispose].bind(running);
      running[Symbol.asyncDispose] = async () => {
        await dispose();
        await run[Symbol.asyncDispose]();
      };
      return running;
    } catch (error) {
      await run[Symbol.asyncDispose]();
      throw error;
    }
  };
}
