/** Which errors only say that somebody asked to stop. */
import { expect, test } from 'vitest';
import { errorCode, isAbort } from '../../../src/base/errors.ts';

test('an abort is an interruption, a deadline that passed is not', async () => {
  const stop = new AbortController();
  stop.abort();
  expect([isAbort(stop.signal.reason), errorCode(stop.signal.reason)]).toEqual([true, 'aborted']);
  const late = AbortSignal.timeout(1);
  await new Promise((resolve) => late.addEventListener('abort', resolve));
  expect([isAbort(late.reason), errorCode(late.reason)]).toEqual([false, 'internal']);
});
