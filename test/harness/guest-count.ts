/** A vitest reporter that ends a run with the number of guests that QEMU really booted, so that a green run without guests shows. */
import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Set for test workers and their children; src/guest appends one line per guest whose agent answered. */
const BOOT_LOG_VARIABLE = 'KITH_BOOT_LOG';

export default class GuestCount {
  /** Made by the first guest that boots, so a run without guests leaves nothing even if it is killed. */
  readonly #file = join(tmpdir(), `kith-boots-${process.pid}`);

  /** Vitest calls it before it starts its workers, which inherit our environment. */
  onInit(): void {
    rmSync(this.#file, { force: true });
    process.env[BOOT_LOG_VARIABLE] = this.#file;
  }

  onTestRunEnd(): void {
    process.stdout.write(`guests really booted: ${this.#count()}\n`);
    rmSync(this.#file, { force: true });
  }

  #count(): number {
    try {
      return readFileSync(this.#file, 'utf8').split('\n').filter(Boolean).length;
    } catch {
      return 0; // no guest was booted, so nobody made the file
    }
  }
}
