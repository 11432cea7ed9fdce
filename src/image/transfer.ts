/** An image as one stream, from peer to peer: the manifest, then its files, packed with zstd. Nothing is believed before it is hashed. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { KithError } from '../base/errors.ts';
import type { ImageRef } from '../protocol/plan.ts';
import { explainDisk } from './files.ts';
import {
  canonicalJson,
  imageBytes,
  manifestFiles,
  manifestHash,
  MAX_MANIFEST_BYTES,
  parseManifestText,
  type Manifest,
} from './manifest.ts';
import type { Store, StoredImage } from './store.ts';

export interface ImportOptions {
  /** Of the image itself, unpacked; also a bound on what the stream may bring. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Says what follows, and lets the format change later. */
const MAGIC = Buffer.from('KITHIMG1');
const HEADER = MAGIC.length + 4;
const CHUNK_BYTES = 64 * 1024;
/** Kernel and initramfs are packed already: a higher level costs time and gains 1 % (measured). */
const LEVEL = 1;
/** The window that an unpacker must keep in memory; whoever asks for more is refused (zstd's own default is 128 MiB). */
const WINDOW_LOG = 23;

/** The whole image as a stream of chunks of at most 64 KiB. Throws `image.unknown` if it is not stored here. */
export async function* exportImage(store: Store, hash: string): AsyncGenerator<Uint8Array, void, void> {
  const image = await store.get(hash);
  if (!image) throw new KithError({ code: 'image.unknown', message: `image ${hash.slice(0, 12)} is not stored here` });
  const params = { [constants.ZSTD_c_compressionLevel]: LEVEL };
  const packed = Readable.from(plainStream(image), { objectMode: false }).compose(
    createZstdCompress({ params, chunkSize: CHUNK_BYTES }),
  );
  for await (const chunk of packed as AsyncIterable<Buffer>) {
    for (let at = 0; at < chunk.length; at += CHUNK_BYTES) yield chunk.subarray(at, at + CHUNK_BYTES);
  }
}

async function* plainStream(image: StoredImage): AsyncGenerator<Buffer> {
  const manifest = Buffer.from(canonicalJson(image.manifest));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(manifest.length);
  yield Buffer.concat([MAGIC, length, manifest]);
  for (const path of [image.kernel, image.initrd, image.disk?.path]) {
    if (path) yield* createReadStream(path, { highWaterMark: CHUNK_BYTES }) as AsyncIterable<Buffer>;
  }
}

/**
 * Takes in an image that must be `ref`. Throws `image.hash-mismatch`, `image.truncated`, `image.garbled`, `image.too-large`
 * or `image.disk-full`; whatever happens, the store holds the whole image or nothing of it.
 */
export async function importImage(
  store: Store,
  ref: ImageRef,
  source: AsyncIterable<Uint8Array>,
  options: ImportOptions,
): Promise<StoredImage> {
  if (ref.bytes > options.maxBytes) throw tooLarge(ref, options.maxBytes);
  const present = await store.get(ref.hash);
  if (present) return present;
  await using work = await store.temporary();
  const packed = Readable.from(bounded(source, ref), { objectMode: false });
  const plain = createZstdDecompress({
    chunkSize: CHUNK_BYTES,
    params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG },
  });
  const abort = (): void => void plain.destroy(options.signal?.reason as Error);
  options.signal?.addEventListener('abort', abort, { once: true });
  try {
    options.signal?.throwIfAborted();
    packed.on('error', (error) => plain.destroy(error));
    const reader = createReader(packed.pipe(plain));
    const manifest = await readManifest(reader, ref);
    await readFiles(reader, manifest, work.path, options);
    if (!(await reader.atEnd())) throw garbled(ref, 'there is more after its last file');
    return await store.add(manifest, work.path);
  } catch (error) {
    options.signal?.throwIfAborted();
    throw explain(error, ref);
  } finally {
    options.signal?.removeEventListener('abort', abort);
    packed.destroy();
    plain.destroy();
  }
}

/** zstd makes nothing longer than this, so whoever sends more sends padding: it unpacks to nothing and would never end. */
async function* bounded(source: AsyncIterable<Uint8Array>, ref: ImageRef): AsyncGenerator<Uint8Array, void, void> {
  let left = ref.bytes + ref.bytes / 64 + 2 * MAX_MANIFEST_BYTES;
  for await (const chunk of source) {
    left -= chunk.length;
    if (left < 0) throw garbled(ref, 'it is longer than it can be');
    yield chunk;
  }
}

async function readManifest(reader: Reader, ref: ImageRef): Promise<Manifest> {
  const header = await reader.exactly(HEADER);
  if (!header.subarray(0, MAGIC.length).equals(MAGIC)) throw garbled(ref, 'it does not begin like an image');
  const length = header.readUInt32BE(MAGIC.length);
  if (length > MAX_MANIFEST_BYTES) throw garbled(ref, `its manifest claims ${length} bytes`);
  const manifest = parseManifestText((await reader.exactly(length)).toString('utf8'));
  if (manifestHash(manifest) !== ref.hash) throw mismatch(ref, 'its manifest');
  if (imageBytes(manifest) !== ref.bytes)
    throw garbled(ref, `it has ${imageBytes(manifest)} bytes instead of ${ref.bytes}`);
  return manifest;
}

async function readFiles(reader: Reader, manifest: Manifest, folder: string, options: ImportOptions): Promise<void> {
  const total = imageBytes(manifest);
  let done = 0;
  for (const { file, bytes, sha256 } of manifestFiles(manifest)) {
    const hash = createHash('sha256');
    await using handle = await open(join(folder, file), 'wx', 0o600);
    for (let left = bytes; left > 0;) {
      const chunk = await reader.atMost(left);
      hash.update(chunk);
      await handle.writeFile(chunk);
      left -= chunk.length;
      done += chunk.length;
      options.onProgress?.(done, total);
    }
    if (hash.digest('hex') !== sha256) throw mismatch({ name: manifest.name }, `its file ${file}`);
  }
}

interface Reader {
  exactly(bytes: number): Promise<Buffer>;
  /** At least one byte. */
  atMost(bytes: number): Promise<Buffer>;
  atEnd(): Promise<boolean>;
}

const END = Symbol('end of stream');

function createReader(stream: AsyncIterable<Buffer>): Reader {
  const chunks = stream[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  const fill = async (): Promise<boolean> => {
    while (rest.length === 0) {
      const next = await chunks.next();
      if (next.done) return false;
      rest = next.value;
    }
    return true;
  };
  const atMost = async (bytes: number): Promise<Buffer> => {
    if (!(await fill())) throw END;
    const part = rest.subarray(0, bytes);
    rest = rest.subarray(part.length);
    return part;
  };
  return {
    atMost,
    async exactly(bytes) {
      const parts: Buffer[] = [];
      for (let left = bytes; left > 0;) {
        const part = await atMost(left);
        parts.push(part);
        left -= part.length;
      }
      return Buffer.concat(parts);
    },
    atEnd: async () => !(await fill()),
  };
}

/** zlib says "unexpected end of file" for a stream that stops early, and its own codes for one that is not zstd at all. */
function explain(error: unknown, ref: ImageRef): unknown {
  if (error === END) return truncated(ref);
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (code === 'Z_BUF_ERROR' || code === 'ERR_STREAM_PREMATURE_CLOSE') return truncated(ref);
  if (code.startsWith('ZSTD_') || code.startsWith('Z_')) return garbled(ref, (error as Error).message);
  return explainDisk(error, `cannot store image ${ref.name}`);
}

const AGAIN = 'try again; if it repeats, the peer that sends it is broken or hostile';

const mismatch = (ref: { readonly name: string }, what: string): KithError =>
  new KithError({
    code: 'image.hash-mismatch',
    message: `image ${ref.name} was refused: ${what} has another digest than promised`,
    hint: AGAIN,
  });

const truncated = (ref: ImageRef): KithError =>
  new KithError({
    code: 'image.truncated',
    message: `image ${ref.name} ended before it was whole`,
    hint: 'try again',
    retry: 'later',
  });

const garbled = (ref: ImageRef, why: string): KithError =>
  new KithError({ code: 'image.garbled', message: `image ${ref.name} was refused: ${why}`, hint: AGAIN });

const tooLarge = (ref: ImageRef, maxBytes: number): KithError =>
  new KithError({
    code: 'image.too-large',
    message: `image ${ref.name} has ${ref.bytes} bytes, more than the ${maxBytes} that this host takes`,
    hint: 'use a smaller image, or raise the limit of the host',
  });
