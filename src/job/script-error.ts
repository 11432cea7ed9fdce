/** What a person sees when the script of a job throws: which job, why, and where. */
import { fileURLToPath } from 'node:url';
import { describeError, isAbort, KithError } from '../base/errors.ts';

/** Our own errors say more than a wrapping could, and an abort only says that somebody asked to stop. */
export function scriptError(job: string, cause: unknown): unknown {
  if (cause instanceof KithError || isAbort(cause)) return cause;
  const place = placeOf(cause);
  return new KithError({
    code: 'job.script-failed',
    message: `the script of job ${job} failed: ${describeError(cause)}`,
    hint: place ? `look at ${place}` : 'throw an Error: it tells the line as well',
    cause,
  });
}

/** `/home/anna/job.ts:12:5` of the innermost frame that is a file. */
function placeOf(error: unknown): string | undefined {
  const stack = error instanceof Error ? (error.stack ?? '') : '';
  const [, url, position] = /^ +at .*?(file:\/\/\S+?)(:\d+:\d+)\)?$/m.exec(stack) ?? [];
  return url && position ? `${fileURLToPath(url)}${position}` : undefined;
}
