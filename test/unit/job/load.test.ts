/** Job scripts: found, loaded with the SDK wherever they lie, refused with the reason. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCommand } from '../../../src/base/process.ts';

// In a Node of its own: a test runner resolves imports its own way, and this is about Node's.
const LOAD = new URL('../../../src/job/load.ts', import.meta.url).href;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-load-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What `loadJob` gives or throws for a script with this text. */
async function load(name: string, text?: string): Promise<string> {
  const file = join(folder, name);
  if (text !== undefined) await writeFile(file, text);
  const program = `import { loadJob } from ${JSON.stringify(LOAD)};
    try { const job = await loadJob(${JSON.stringify(file)}); console.log(job.name, job.min, job.max, job.subnet, job.wires.join()); }
    catch (error) { console.log(error.code, error.message); }`;
  const { stdout } = await runCommand(process.execPath, ['--input-type=module', '-e', program], { timeoutMs: 30_000 });
  return stdout;
}

describe('a job script', () => {
  test('outside of this repository imports the SDK by its name', async () => {
    const text = `import { defineJob } from 'kith'; const n: string = 'far'; export default defineJob({ name: n, topology: 'ring' });`;
    expect(await load('far.ts', text)).toBe('far 1 16 10.77.0.0/24 direct,webrtc,stanza');
  });

  test.each<[string, string | undefined, RegExp]>([
    ['missing.ts', undefined, /^job\.not-found there is no job script .*missing\.ts/],
    ['syntax.ts', 'export default {', /^job\.script cannot load .*syntax\.ts/],
    ['throws.ts', `throw new Error('out of luck');`, /^job\.script cannot load .*out of luck/],
    ['imports.ts', `import 'no-such-package';`, /^job\.script .*no-such-package/],
    ['nothing.ts', 'export const x = 1;', /^job\.invalid .*no default export/],
    ['wrong.ts', 'export default { name: "x", topology: "donut" };', /^job\.invalid .*topology/],
  ])('%s is refused with its reason', async (name, text, reason) => {
    expect(await load(name, text)).toMatch(reason);
  });
});
