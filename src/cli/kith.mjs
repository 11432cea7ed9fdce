#!/usr/bin/env node
/** The command `kith` from a checkout: `npx kith ps`. Everything happens in main.ts, on the pinned Node, in the caller's folder. */
import { fileURLToPath } from 'node:url';
import { run } from '../setup/setup.mjs';

const args = process.argv.slice(2);
// The demo is for a bare machine. All other commands need different programs or none, and say which one is missing.
process.exitCode = await run(fileURLToPath(new URL('./main.ts', import.meta.url)), args, {
  programs: args[0] === 'demo',
});
