/** Four projects: unit (pure, seconds), integration (real Prosody and data channels), hostile (attacks), guests (real QEMU). */
import { defineConfig } from 'vitest/config';
import { guardSwitches } from './harness/evil-guards.ts';
import { guards } from './hostile/guards.ts';

const root = new URL('..', import.meta.url).pathname;

export default defineConfig({
  test: {
    root,
    reporters: [
      'default',
      './test/harness/evil-table.ts',
      './test/harness/guest-count.ts',
      './test/harness/plain-totals.ts',
    ],
    projects: [
      {
        extends: true,
        // Pure, and yet some are thousands of cases: on a busy machine a second becomes ten.
        test: { name: 'unit', include: ['test/{unit,simulation}/**/*.test.ts'], testTimeout: 60_000 },
      },
      {
        extends: true,
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        plugins: [guardSwitches(root, guards)],
        test: {
          name: 'hostile',
          include: ['test/hostile/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        // Software emulation on two cores: one file at a time, or guests starve each other past their deadlines.
        test: {
          name: 'guests',
          include: ['test/guests/**/*.test.ts'],
          testTimeout: 240_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
