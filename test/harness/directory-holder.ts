/** Has a run directory with a fixed name, says so with a line, and lives until it is killed. Argument: its path. */
import { openNamedRunDirectory } from '../../src/base/guard.ts';

const directory = await openNamedRunDirectory(process.argv[2] ?? '');
process.stdout.write(`${directory.path}\n`);
setInterval(() => {}, 60_000);
