/** Owns a run directory and a child that nothing but the guard ends; waits to be killed. Argument: the parent directory. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { openRunDirectory } from '../../src/base/guard.ts';

const directory = await openRunDirectory(process.argv[2] ?? '', 'run-');
writeFileSync(join(directory.path, 'file'), 'content');
// Each leads a group with a child in it.
const [adopted, released] = await Promise.all(
  [0, 1].map(async () => {
    const child = spawn('sh', ['-c', 'sleep 600 & echo $!; wait'], {
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    });
    directory.adopt(Number(child.pid));
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    return { pid: Number(child.pid), grandchild: Number(line) };
  }),
);
directory.release(Number(released?.pid));
const facts = {
  adopted: adopted?.pid,
  released: released?.pid,
  grandchild: adopted?.grandchild,
  spared: released?.grandchild,
};
process.stdout.write(`${JSON.stringify({ path: directory.path, ...facts })}\n`);
setInterval(() => {}, 60_000);
