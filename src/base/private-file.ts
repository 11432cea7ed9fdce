/** Small JSON files that are ours alone: never seen half written, never readable by others, refused with a reason when they are spoiled. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { describeError, KithError } from './errors.ts';
import { parseJson, type Parse } from './validate.ts';

/** Mode 0600, in a folder of mode 0700 that is made if need be. Readers see the old text or the new one. */
export async function writePrivate(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const draft = `${file}.${randomBytes(6).toString('hex')}`;
  try {
    await writeFile(draft, text, { mode: 0o600, flag: 'wx' });
    await rename(draft, file);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

/** Undefined if there is none. Throws with `code` and `hint` if it is too large, no JSON, or not what `parse` takes. */
export async function readPrivate<T>(
  file: string,
  options: { readonly parse: Parse<T>; readonly maxBytes: number; readonly code: string; readonly hint: string },
): Promise<T | undefined> {
  const { parse, maxBytes, code, hint } = options;
  try {
    const { size } = await stat(file);
    if (size > maxBytes) throw new RangeError(`it has ${size} bytes, more than the ${maxBytes} allowed`);
    return parse(parseJson('the file', code, await readFile(file, 'utf8'), maxBytes));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new KithError({ code, message: `cannot use ${file}: ${describeError(error)}`, hint, cause: error });
  }
}
