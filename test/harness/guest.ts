/** Real guests for tests: the micro image (built once per machine), the host's facts, and a LAN of one process. */
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { openRunDirectory, type RunDirectory } from '../../src/base/guard.ts';
import { silentLog } from '../../src/base/log.ts';
import { kithPaths } from '../../src/base/paths.ts';
import type { GuestConfig } from '../../src/guest/config.ts';
import { bootGuest, type BootOptions, type RunningGuest } from '../../src/guest/guest.ts';
import { probeHost, type HostFacts } from '../../src/guest/probe.ts';
import { generateSshKey, type SshKey } from '../../src/guest/ssh-key.ts';
import { resolveImage } from '../../src/image/recipe.ts';
import { openStore, type StoredImage } from '../../src/image/store.ts';
import type { Run } from '../../src/net/port.ts';

export const RECIPES = new URL('../../images', import.meta.url).pathname;

/** The user's own cache: what is in it can be shared with everything else, and a second test run builds nothing. */
export async function microImage(): Promise<{ readonly image: StoredImage; readonly host: HostFacts }> {
  const { cache } = kithPaths();
  const store = await openStore(cache);
  const image = await resolveImage('micro', { store, recipesDir: RECIPES });
  const host = await probeHost({ cacheDir: cache, kernel: image.kernel, log: silentLog });
  return { image, host };
}

export interface TestLan extends AsyncDisposable {
  readonly run: RunDirectory;
  readonly key: SshKey;
  config(index: number): GuestConfig;
  /** Guest 0 is the master guest. Every frame of one goes to all the others. */
  boot(index: number, options?: Partial<BootOptions>): Promise<RunningGuest>;
}

const nameOf = (index: number): string => (index === 0 ? 'master' : `worker-${index}`);

export async function openTestLan(places = 3): Promise<TestLan> {
  const { image, host } = await microImage();
  const key = await generateSshKey();
  const run = await openRunDirectory(tmpdir(), 'kith-guests-');
  const guests = new Map<number, RunningGuest>();
  const slots = Array.from({ length: places }, (_, index) => ({
    name: nameOf(index),
    mac: `52:54:00:00:00:${String(index + 1).padStart(2, '0')}`,
    address: `10.77.0.${index + 1}`,
  }));
  const config = (index: number): GuestConfig => {
    const slot = slots[index];
    if (!slot) throw new RangeError(`the test LAN has ${places} places`);
    return {
      role: index === 0 ? 'master' : 'worker',
      hostname: slot.name,
      mac: slot.mac,
      address: slot.address,
      subnet: '10.77.0.0/24',
      mtu: 1400,
      slots,
      masterKey: key.publicKey,
      masterPrivateKey: index === 0 ? key.privateKey : undefined,
    };
  };
  const relay = (from: number) => (frames: Run) => {
    for (const [index, guest] of guests) if (index !== from) guest.port.send(frames);
  };
  return {
    run,
    key,
    config,
    async boot(index, options = {}) {
      const guest = await bootGuest({
        name: nameOf(index),
        image,
        memoryMiB: image.manifest.memoryMiB.default,
        cpus: 1,
        config: config(index),
        run,
        host,
        onRun: relay(index),
        log: silentLog,
        ...options,
      });
      guests.set(index, guest);
      return guest;
    },
    async [Symbol.asyncDispose]() {
      for (const guest of guests.values()) await guest[Symbol.asyncDispose]();
      await run[Symbol.asyncDispose]();
      await rm(run.path, { recursive: true, force: true });
    },
  };
}

/** Runs a shell line in a guest; throws unless it ends well. */
export async function sh(guest: RunningGuest, line: string, timeoutMs = 60_000): Promise<string> {
  const result = await guest.exec(['sh', '-c', line], { timeoutMs });
  if (result.exitCode !== 0)
    throw new Error(`${line} on ${guest.name}: exit ${result.exitCode}: ${result.stderr.toString()}`);
  return result.stdout.toString();
}

/** Waits inside the guest, by its own clock, until a shell condition holds. */
export async function until(guest: RunningGuest, condition: string): Promise<void> {
  await sh(guest, `until ${condition}; do sleep 0.2; done`, 120_000);
}
