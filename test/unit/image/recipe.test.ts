/** From a name to an image: built once, found again, built anew when something changed. */
import { chmod, mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { resolveImage } from '../../../src/image/recipe.ts';
import { openTestStore, tinyImage, type TestStore } from '../../harness/tiny-image.ts';

/** A recipe whose inputs and kernel are what `input` says; it notes each build beside it. */
async function writeRecipe({
  cache,
}: TestStore): Promise<{ recipesDir: string; input(text: string): Promise<void>; builds(): Promise<number> }> {
  const recipesDir = join(cache, 'recipes-source');
  const folder = join(recipesDir, 'tiny');
  await mkdir(join(folder, 'builds'), { recursive: true });
  const harness = new URL('../../harness/tiny-image.ts', import.meta.url).href;
  await writeFile(
    join(folder, 'recipe.ts'),
    `import { readFile, mkdtemp, writeFile } from 'node:fs/promises';
     import { tinyImage } from '${harness}';
     const input = async () => {
       const text = await readFile('${folder}/input', 'utf8');
       if (text === 'broken') throw new Error('no package lists');
       return text;
     };
     export const recipe = {
       name: 'tiny',
       inputs: input,
       async build({ workDir, onProgress }) {
         await mkdtemp('${folder}/builds/');
         onProgress('building');
         await new Promise((resolve) => setTimeout(resolve, 50));
         return { manifest: await tinyImage(workDir, Buffer.from(await input())), folder: workDir };
       },
     };`,
  );
  const input = (text: string) => writeFile(join(folder, 'input'), text);
  await input('one');
  return { recipesDir, input, builds: async () => (await readdir(join(folder, 'builds'))).length };
}

describe('an image by its name', () => {
  it('is built once for equal inputs, also by many at a time, and again for others', async () => {
    await using test = await openTestStore();
    const recipe = await writeRecipe(test);
    const options = { store: test.store, recipesDir: recipe.recipesDir };
    const first = await Promise.all([1, 2, 3].map(() => resolveImage('tiny', options)));
    expect(new Set(first.map(({ ref }) => ref.hash)).size).toBe(1);
    expect(await recipe.builds()).toBe(1);
    await recipe.input('two');
    const second = await resolveImage('tiny', options);
    expect(second.ref.hash).not.toBe(first[0]?.ref.hash);
    await recipe.input('one');
    expect((await resolveImage('tiny', options)).ref).toEqual(first[0]?.ref);
    expect(await recipe.builds()).toBe(2);
    expect((await readdir(test.store.folder)).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('is built again when its files were damaged', async () => {
    await using test = await openTestStore();
    const recipe = await writeRecipe(test);
    const options = { store: test.store, recipesDir: recipe.recipesDir };
    const { kernel, ref } = await resolveImage('tiny', options);
    await chmod(kernel, 0o644);
    await writeFile(kernel, 'xxx');
    expect((await resolveImage('tiny', options)).ref).toEqual(ref);
    expect(await recipe.builds()).toBe(2);
    expect((await stat(kernel)).mode & 0o777).toBe(0o444);
  });

  it('is our last build where nothing can be built, and the reason is told', async () => {
    await using test = await openTestStore();
    const recipe = await writeRecipe(test);
    const lines: string[] = [];
    const options = {
      store: test.store,
      recipesDir: recipe.recipesDir,
      onProgress: (line: string) => lines.push(line),
    };
    await recipe.input('broken');
    await expect(resolveImage('tiny', options)).rejects.toThrow('no package lists');
    await recipe.input('one');
    const { ref } = await resolveImage('tiny', options);
    await recipe.input('broken');
    expect((await resolveImage('tiny', options)).ref).toEqual(ref);
    expect(lines.at(-1)).toContain('no package lists');
  });

  it('is never one that others named so', async () => {
    await using test = await openTestStore();
    const recipe = await writeRecipe(test);
    await using work = await test.store.temporary();
    const { ref: foreign } = await test.store.add(await tinyImage(work.path), work.path);
    const options = { store: test.store, recipesDir: recipe.recipesDir };
    await recipe.input('broken');
    await expect(resolveImage('tiny', options)).rejects.toThrow('no package lists');
    await recipe.input('one');
    const { ref } = await resolveImage('tiny', options);
    await recipe.input('two');
    const newer = await resolveImage('tiny', options);
    await recipe.input('broken');
    expect((await resolveImage('tiny', options)).ref).toEqual(newer.ref);
    await test.store.remove(newer.ref.hash);
    expect((await resolveImage('tiny', options)).ref).toEqual(ref);
    await test.store.remove(ref.hash);
    expect(await test.store.has(foreign.hash)).toBe(true);
    await expect(resolveImage('tiny', options)).rejects.toThrow('no package lists');
  });

  it.each(['nosuch', '../tiny', 'TINY', ''])('is unknown when it is called "%s"', async (name) => {
    await using test = await openTestStore();
    const { recipesDir } = await writeRecipe(test);
    await expect(resolveImage(name, { store: test.store, recipesDir })).rejects.toMatchObject({
      code: 'image.unknown',
    });
  });

  it('is found by its hash only if it is stored', async () => {
    await using test = await openTestStore();
    const { recipesDir } = await writeRecipe(test);
    const options = { store: test.store, recipesDir };
    await expect(resolveImage('0'.repeat(64), options)).rejects.toMatchObject({ code: 'image.unknown' });
    const built = await resolveImage('tiny', options);
    expect(await resolveImage(built.ref.hash, options)).toEqual(built);
  });
});
