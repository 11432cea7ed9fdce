/** Thousands of scenarios on all cores: `npm run chaos -- [scenarios] [--seed first] [--json]`. A failing seed alone: `-- 1 --seed N`. */
import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { runScenario, type ScenarioResult } from './scenario.ts';
import { add, describe, noTotals, summary } from './totals.ts';

/** Short enough for steady progress, long enough that asking for more costs nothing. */
const SEEDS_PER_ROUND = 10;
const PROGRESS_MS = 5000;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { seed: { type: 'string', default: '1' }, json: { type: 'boolean', default: false } },
  });
  const scenarios = Number(positionals[0] ?? 10_000);
  const first = Number(values.seed);
  if (!Number.isSafeInteger(scenarios) || scenarios < 1 || !Number.isSafeInteger(first)) {
    process.stderr.write('usage: npm run chaos -- [scenarios] [--seed first] [--json]\n');
    process.exitCode = 64; // sysexits.h EX_USAGE
    return;
  }
  const totals = noTotals();
  const start = performance.now();
  let next = first;
  const seconds = () => (performance.now() - start) / 1000;
  const say = () => {
    const rate = (totals.scenarios / seconds()).toFixed(1);
    process.stderr.write(`${totals.scenarios} of ${scenarios}, ${rate}/s, ${totals.failures.length} failures\n`);
  };
  const progress = setInterval(say, PROGRESS_MS);

  /** One process that runs seeds until none is left. */
  async function work(): Promise<void> {
    const child = fork(import.meta.filename, ['--worker'], { stdio: 'inherit' });
    const give = () => {
      const to = Math.min(next + SEEDS_PER_ROUND, first + scenarios);
      if (next < to) child.send({ from: next, to });
      else child.disconnect();
      next = Math.max(next, to);
    };
    child.on('message', (results: ScenarioResult[]) => {
      for (const result of results) add(totals, result);
      give();
    });
    give();
    const code = await new Promise((resolve) => void child.once('exit', resolve));
    if (code !== 0) throw new Error(`a worker ended with ${String(code)}`);
  }

  try {
    await Promise.all(Array.from({ length: Math.min(availableParallelism(), scenarios) }, work));
  } finally {
    clearInterval(progress);
  }
  if (totals.scenarios !== scenarios) throw new Error(`${totals.scenarios} of ${scenarios} scenarios came back`);
  totals.failures.sort((a, b) => a.seed - b.seed);
  const took = Math.round(seconds() * 10) / 10;
  if (values.json) process.stdout.write(`${JSON.stringify({ ...summary(totals), seconds: took })}\n`);
  else process.stdout.write(`${describe(totals)}\ntook        ${took} s\n`);
  if (totals.failures.length > 0) process.exitCode = 1;
}

if (process.argv[2] === '--worker') {
  process.on('message', ({ from, to }: { from: number; to: number }) => {
    process.send!(Array.from({ length: to - from }, (_, i) => runScenario({ seed: from + i })));
  });
} else {
  await main();
}
