/** Owns a run directory and a child that nothing but the guard ends; waits to be killed. Argument: the parent directory. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openRunDirectory } from '../../src/base/guard.ts';

const directory = await openRunDirectory(process.argv[2] ?? '', 'run-');
writeFileSync(join(directory.path, 'file'), 'content');
const [adopted, released] = [0, 1].map(() => {
  const child = spawn('sleep', ['600'], { stdio: 'ignore', detached: true });
  directory.adopt(Number(child.pid));
  return Number(child.pid);
});
directory.release(Number(released));
process.stdout.write(`${JSON.stringify({ path: directory.path, adopted, released })}\n`);
setInterval(() => {}, 60_000);
