/** What scripts rely on: the exit code of an error. */
import { expect, test } from 'vitest';
import { KithError } from '../../../src/base/errors.ts';
import { exitCodeOf } from '../../../src/cli/exit-codes.ts';

test.each([
  ['cli.no-account', 64],
  ['control.no-peer', 69],
  ['control.peer-gone', 69],
  ['control.no-socket', 69],
  ['job.refused', 77],
  ['some.thing', 1],
])('%s is %d', (code, exit) => expect(exitCodeOf(new KithError({ code, message: 'x' }))).toBe(exit));
