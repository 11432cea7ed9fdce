/** `node src/setup/run.mjs <entry.ts> [args...]`: makes sure that everything is there, then runs the entry on the pinned Node. */
import { resolve } from 'node:path';
import { run } from './setup.mjs';

/** @param {string} path */
const purposeOf = (path) => (path.endsWith('test.ts') ? 'tests' : path.includes('bench/') ? 'bench' : undefined);

const [entry, ...args] = process.argv.slice(2);
if (entry === undefined) {
  process.stderr.write('usage: node src/setup/run.mjs <entry.ts> [arguments...]\n');
  process.exitCode = 64; // sysexits.h EX_USAGE
} else {
  process.exitCode = await run(resolve(entry), args, { purpose: purposeOf(entry) });
}
