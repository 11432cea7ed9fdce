/** A vitest reporter that prints the table of the hostile suite: attack, guard, result with the guard, result without. */
import type { AttackResult } from './evil-rows.ts';

interface TestCase {
  meta(): { readonly attack?: AttackResult };
}

interface TestModule {
  readonly children: { allTests(): Iterable<TestCase> };
}

/** Longer reasons are cut: a table is for the eye. */
const WIDTH = 60;

export default class EvilTable {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const rows = modules.flatMap(({ children }) =>
      [...children.allTests()].flatMap((test) => test.meta().attack ?? []),
    );
    if (rows.length === 0) return;
    const cells = [
      ['attack', 'guard', 'with the guard', 'without'],
      ...rows.map(({ name, guard, withGuard, withoutGuard }) => [name, guard, withGuard, withoutGuard]),
    ].map((row) => row.map((cell) => (cell.length > WIDTH ? `${cell.slice(0, WIDTH - 1)}…` : cell)));
    const widths = [0, 1, 2, 3].map((column) => Math.max(...cells.map((row) => row[column]!.length)));
    const lines = cells.map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    );
    const [held, broken] = [
      rows.filter((row) => row.withGuard === 'succeeded'),
      rows.filter((row) => row.withoutGuard === 'succeeded'),
    ];
    const total = `${rows.length} attacks, ${held.length} succeeded with guards on, ${broken.length} succeed with their guard off`;
    process.stdout.write(`\n${lines.join('\n')}\n${total}\n`);
  }
}
