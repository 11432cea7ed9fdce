/** Loads a job script, on the initiator only: code never crosses the wire. */
import { existsSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describeError, KithError } from '../base/errors.ts';
import { checkJob, invalid, type Job } from './define.ts';

let hooked = false;

/** Makes `import … from 'kith'` mean this very SDK, wherever the script lies. */
function provideSdk(): void {
  if (hooked) return;
  hooked = true;
  const url = new URL('./sdk.ts', import.meta.url).href;
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === 'kith' ? { url, shortCircuit: true } : next(specifier, context),
  });
}

export async function loadJob(file: string): Promise<Job> {
  const path = resolve(file);
  if (!existsSync(path)) {
    throw new KithError({
      code: 'job.not-found',
      message: `there is no job script ${file}`,
      hint: 'try jobs/mesh.ts or jobs/star.ts',
    });
  }
  provideSdk();
  let script: { readonly default?: unknown };
  try {
    script = (await import(pathToFileURL(path).href)) as typeof script;
  } catch (cause) {
    throw new KithError({
      code: 'job.script',
      message: `cannot load ${file}: ${describeError(cause)}`,
      hint: 'fix the script; plain TypeScript without enums and namespaces runs as it is',
      cause,
    });
  }
  if (script.default === undefined)
    throw invalid(`${file} has no default export; write: export default defineJob({ … })`);
  return checkJob(script.default);
}
