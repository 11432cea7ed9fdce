/** A lock among processes: one at a time, inherited from the dead, given up on a signal. */
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { errorCode } from '../../../src/base/errors.ts';
import { takeLock } from '../../../src/base/lock.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-lock-'));
  path = join(folder, 'lock');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('is waited for while its holder lives, and gone after the last', async () => {
  const held = await takeLock(path, {});
  const waited = Promise.withResolvers<void>();
  let second: AsyncDisposable | undefined;
  const waiting = takeLock(path, { onWait: () => waited.resolve() }).then((lock) => (second = lock));
  await waited.promise;
  expect(second).toBeUndefined();
  await held[Symbol.asyncDispose]();
  await waiting;
  await second?.[Symbol.asyncDispose]();
  await expect(stat(path)).rejects.toThrow('ENOENT');
});

test('is taken over from a process that died', async () => {
  await mkdir(path);
  await writeFile(join(path, 'owner'), '4194304 1'); // above the largest process id that Linux gives by default
  await using _held = await takeLock(path, {});
  expect(errorCode(await takeLock(path, { patienceMs: 0 }).catch((error: unknown) => error))).toBe(
    'base.directory-taken',
  );
});

test('is not waited for after an abort, nor taken', async () => {
  const controller = new AbortController();
  {
    await using _held = await takeLock(path, {});
    const waiting = takeLock(path, { signal: controller.signal, onWait: () => controller.abort(new Error('enough')) });
    await expect(waiting).rejects.toThrow('abort');
  }
  await expect(takeLock(path, { signal: controller.signal })).rejects.toThrow('enough');
  await expect(stat(path)).rejects.toThrow('ENOENT');
});
