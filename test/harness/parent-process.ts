/** Starts a long command as child, in the way that its argument says, tells its process id, and waits to be killed. */
import { readFileSync, readdirSync } from 'node:fs';
import { runCommand, startChild } from '../../src/base/process.ts';

const MINUTES = '600';
if (process.argv[2] === 'start') {
  const child = startChild('sleep', [MINUTES]);
  child.catch(() => {});
  process.stdout.write(`${child.pid}\n`);
} else {
  runCommand('sleep', [MINUTES], { timeoutMs: 600_000 }).catch(() => {});
  const mine = readdirSync(`/proc/${process.pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${process.pid}/task/${task}/children`, 'utf8').trim().split(' '),
  );
  process.stdout.write(`${mine.filter(Boolean).join('')}\n`);
}
setInterval(() => {}, 60_000);
