/** Has this machine time for more? What its processors did since the last question. */
import { cpus } from 'node:os';

/** Less idle time than this, and one more connection only takes from the others. */
const SPARE_SHARE = 0.2;

export function createSpareCpu(): () => boolean {
  let before = times();
  return () => {
    const now = times();
    const all = now.all - before.all;
    const idle = now.idle - before.idle;
    before = now;
    return all > 0 && idle / all >= SPARE_SHARE;
  };
}

function times(): { readonly idle: number; readonly all: number } {
  let idle = 0;
  let all = 0;
  for (const { times: of } of cpus()) {
    idle += of.idle;
    all += of.user + of.nice + of.sys + of.idle + of.irq;
  }
  return { idle, all };
}
