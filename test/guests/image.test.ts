/** The micro image is the same, bit for bit, whoever builds it and however often. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { resolveImage } from '../../src/image/recipe.ts';
import { openStore } from '../../src/image/store.ts';
import { microImage, RECIPES } from '../harness/guest.ts';

it('is built again from nothing with the same hash, and is then found without building', async () => {
  const { image } = await microImage();
  const cache = await mkdtemp(join(tmpdir(), 'kith-rebuild-'));
  try {
    const store = await openStore(cache);
    const lines: string[] = [];
    const options = { store, recipesDir: RECIPES, onProgress: (line: string) => lines.push(line) };
    const both = await Promise.all([resolveImage('micro', options), resolveImage('micro', options)]);
    expect(both.map(({ ref }) => ref.hash)).toEqual([image.ref.hash, image.ref.hash]);
    expect(lines.filter((line) => line.includes('built in'))).toHaveLength(1);
    const heard = lines.length;
    expect((await resolveImage('micro', options)).ref).toEqual(image.ref);
    expect(lines).toHaveLength(heard);
    expect(await readdir(store.folder)).toEqual([image.ref.hash]);
  } finally {
    await rm(cache, { recursive: true, force: true });
  }
});
