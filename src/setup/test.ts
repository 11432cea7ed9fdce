/** `npm test`: the static checks, then all tests. With arguments only the tests, which get the arguments; `--checks`: only the checks. */
import { join } from 'node:path';
import { describeError } from '../base/errors.ts';
import { startChild } from '../base/process.ts';

const ROOT = new URL('../..', import.meta.url).pathname;

interface Step {
  readonly title: string;
  readonly program: string;
  readonly args: readonly string[];
}

const CHECKS: readonly Step[] = [
  { title: 'types', program: 'tsc', args: [] },
  { title: 'types of set-up', program: 'tsc', args: ['--project', 'src/setup'] },
  { title: 'lint', program: 'oxlint', args: [] },
  { title: 'format', program: 'oxfmt', args: ['--check', '.'] },
  { title: 'unused code and dependencies', program: 'knip', args: [] },
];

const tests = (args: readonly string[]): Step => ({
  title: 'tests',
  program: 'vitest',
  args: ['run', '--config', 'test/vitest.config.ts', ...args],
});

function chooseSteps(args: readonly string[]): readonly Step[] {
  if (args.length === 0) return [...CHECKS, tests([])];
  return args[0] === '--checks' ? CHECKS : [tests(args)];
}

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop.abort());

try {
  for (const { title, program, args } of chooseSteps(process.argv.slice(2))) {
    process.stdout.write(`\n== ${title}: ${[program, ...args].join(' ')}\n`);
    const { exitCode } = await startChild(join(ROOT, 'node_modules', '.bin', program), args, {
      cwd: ROOT,
      stdin: 'inherit',
      stdout: 'inherit',
      stderr: 'inherit',
      // Their first line is `env node`: it has to find the pinned one.
      env: { PATH: `${join(ROOT, 'node_modules', '.bin')}:${process.env['PATH'] ?? ''}` },
      signal: stop.signal,
    });
    if (exitCode === 0) continue;
    const how = exitCode === undefined ? 'a signal' : `exit code ${exitCode}`;
    process.stdout.write(`\n${title} failed: ${program} ended with ${how}\n`);
    process.exitCode = exitCode ?? 1;
    break;
  }
} catch (error) {
  process.stderr.write(`${describeError(error)}\n`);
  process.exitCode = 1;
}
