/** From an image's name to its files: built once by its recipe, then found again by a fingerprint of what went in. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describeError, errorCode, KithError } from '../base/errors.ts';
import { HASH_PATTERN, isName } from '../base/ids.ts';
import { takeLock } from '../base/lock.ts';
import type { Manifest } from './manifest.ts';
import type { Store, StoredImage } from './store.ts';

export interface RecipeOptions {
  /** Kept between builds: package lists and what is remembered about them. */
  readonly stateDir: string;
  readonly signal?: AbortSignal | undefined;
}

export interface BuildOptions extends RecipeOptions {
  /** Empty, and removed after the build. */
  readonly workDir: string;
  readonly onProgress: (line: string) => void;
}

/** What `images/<name>/recipe.ts` exports as `recipe`. */
export interface Recipe {
  readonly name: string;
  /** Equal for equal inputs (recipe files, package versions), cheap enough to ask before each use. */
  inputs(options: RecipeOptions): Promise<string>;
  /** Makes the files of the manifest in `folder`. Equal inputs give equal bytes. */
  build(options: BuildOptions): Promise<{ readonly manifest: Manifest; readonly folder: string }>;
}

export interface ResolveOptions {
  readonly store: Store;
  /** The folder that holds `<name>/recipe.ts`. */
  readonly recipesDir: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((line: string) => void) | undefined;
  /** Build although a build from the same inputs is there. */
  readonly rebuild?: boolean;
}

/** An image by its hash (must be stored) or by the name of its recipe (built if need be). */
export async function resolveImage(nameOrHash: string, options: ResolveOptions): Promise<StoredImage> {
  if (new RegExp(HASH_PATTERN).test(nameOrHash)) {
    const image = await options.store.get(nameOrHash);
    if (image) return image;
    throw new KithError({
      code: 'image.unknown',
      message: `image ${nameOrHash.slice(0, 12)}… is not stored here`,
      hint: 'fetch it from a peer that has it, or build it by the name of its recipe',
    });
  }
  const recipe = await loadRecipe(nameOrHash, options.recipesDir);
  const stateDir = join(options.store.folder, '..', 'recipes', recipe.name);
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const remembered = async (): Promise<StoredImage | undefined> => {
    if (options.rebuild) return undefined;
    return findBuild(recipe, stateDir, options);
  };
  const found = await remembered();
  if (found) return found;
  await using _lock = await takeLock(join(stateDir, 'lock'), {
    signal: options.signal,
    onWait: () => options.onProgress?.(`image ${recipe.name}: another process is building it, waiting`),
  });
  return (await remembered()) ?? (await build(recipe, stateDir, options));
}

async function loadRecipe(name: string, recipesDir: string): Promise<Recipe> {
  const files = ['recipe.ts', 'recipe.js'].map((file) => join(recipesDir, name, file));
  const file = isName(name) ? files.find((path) => existsSync(path)) : undefined;
  if (!file) {
    throw new KithError({
      code: 'image.unknown',
      message: `there is no image called ${name}: ${join(recipesDir, name)} has no recipe`,
      hint: 'use the name of a folder in images/, or the hash of a stored image',
    });
  }
  const { recipe } = (await import(pathToFileURL(file).href)) as { recipe: Recipe };
  return recipe;
}

const BUILT = 'built-';
const buildFile = (stateDir: string, inputs: string): string => join(stateDir, BUILT + inputs);

/**
 * The newest of our own builds that is still stored. The store alone would not do: it also holds images of other peers, which
 * call them what they like.
 */
async function lastBuild(stateDir: string, store: Store): Promise<string | undefined> {
  const files = (await readdir(stateDir)).filter((file) => file.startsWith(BUILT)).map((file) => join(stateDir, file));
  const dated = await Promise.all(files.map(async (file) => ({ file, at: (await stat(file)).mtimeMs })));
  for (const { file } of dated.sort((a, b) => b.at - a.at)) {
    const hash = await readFile(file, 'utf8');
    if (await store.has(hash)) return hash;
  }
  return undefined;
}

async function findBuild(
  recipe: Recipe,
  stateDir: string,
  { store, signal, onProgress }: ResolveOptions,
): Promise<StoredImage | undefined> {
  const hash = await recipe.inputs({ stateDir, signal }).then(
    (inputs) => readFile(buildFile(stateDir, inputs), 'utf8').catch(() => undefined),
    async (error: unknown) => {
      signal?.throwIfAborted();
      // Without apt or a network nothing new can be built, but what we built before still serves.
      const last = await lastBuild(stateDir, store);
      if (last) onProgress?.(`image ${recipe.name}: using our last build (${describeError(error)})`);
      if (!last) throw error;
      return last;
    },
  );
  if (!hash) return undefined;
  return store.get(hash).catch((error: unknown) => {
    if (errorCode(error) !== 'image.corrupt') throw error;
    onProgress?.(`image ${recipe.name}: ${describeError(error)}`);
    return undefined;
  });
}

async function build(recipe: Recipe, stateDir: string, options: ResolveOptions): Promise<StoredImage> {
  const { store, signal } = options;
  const onProgress = (line: string) => options.onProgress?.(`image ${recipe.name}: ${line}`);
  await using work = await store.temporary();
  const started = performance.now();
  const { manifest, folder } = await recipe.build({ stateDir, workDir: work.path, signal, onProgress });
  const image = await store.add(manifest, folder);
  // Asked after the build: it may have refreshed stale package lists.
  await writeFile(buildFile(stateDir, await recipe.inputs({ stateDir, signal })), image.ref.hash);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  onProgress(`built in ${seconds} s, ${(image.ref.bytes / 1e6).toFixed(0)} MB, ${image.ref.hash.slice(0, 12)}`);
  return image;
}
