/** A vitest reporter whose last line reads `N passed, N failed, N skipped`, for automation that knows no test runner. */

interface Tests {
  allTests(): Iterable<{ result(): { readonly state: string } }>;
}

interface TestModule {
  readonly children: Tests;
  errors(): readonly unknown[];
}

export default class PlainTotals {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const count = { passed: 0, failed: 0, skipped: 0 };
    for (const module of modules) {
      // A file that does not even load has no tests, and must not look like success.
      if (module.errors().length > 0) count.failed++;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed' || state === 'failed') count[state]++;
        else count.skipped++;
      }
    }
    count.failed += errors.length;
    process.stdout.write(`${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped\n`);
  }
}
