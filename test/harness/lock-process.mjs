/** Takes the lock that is its argument, says so, and holds it until it is told to end or killed; keeps a diary beside it. */
import { appendFileSync } from 'node:fs';
import { takeLock } from '../../src/setup/lock.mjs';

const path = process.argv[2] ?? '';
const giveBack = await takeLock(path);
appendFileSync(`${path}-diary`, `takes ${process.pid}\n`);
process.stdout.write('held\n');
process.stdin.once('data', () => {
  appendFileSync(`${path}-diary`, `gives ${process.pid}\n`);
  giveBack();
  process.exit(0);
});
