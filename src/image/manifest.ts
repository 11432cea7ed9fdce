/** What an image is: a small JSON document that names each file by its digest. The digest of the manifest is the image's name for ever. */
import { createHash } from 'node:crypto';
import { KithError } from '../base/errors.ts';
import { HASH_PATTERN, NAME_PATTERN } from '../base/ids.ts';
import { parseJson, parser } from '../base/validate.ts';

export interface ImageFile {
  readonly file: string;
  readonly sha256: string;
  readonly bytes: number;
}

export interface DiskFile extends ImageFile {
  /** Raw alone: a qcow2 file may name any other file of the host as its backing or data file, and QEMU would open that. */
  readonly format: 'raw';
}

export interface Manifest {
  readonly version: 1;
  readonly name: string;
  readonly arch: 'x86_64';
  /** An ELF kernel with a PVH note, or a bzImage. */
  readonly kernel: ImageFile;
  readonly initrd?: ImageFile;
  /** Base of a disk: guests write to an overlay, never to this. */
  readonly disk?: DiskFile;
  readonly commandLine: string;
  readonly memoryMiB: { readonly minimum: number; readonly default: number };
  readonly cpus: number;
  /** Whether the QEMU guest agent runs inside. */
  readonly agent: boolean;
  /** Serial device that the kernel and a shell speak on: `ttyS0`. */
  readonly consoleDevice: string;
}

/** A manifest with four files is below 2 kB; the cap is checked before the text is parsed. */
export const MAX_MANIFEST_BYTES = 16_384;

/** The largest single file that any recipe of ours makes is 1 GB; 64 GiB leaves room for stock cloud images. */
const MAX_FILE_BYTES = 64 * 2 ** 30;

/** Names that the store itself uses start with a capital or a dot, so they cannot collide. */
const FILE_NAME = '^[a-z0-9][a-z0-9._-]{0,63}$';

const fileProperties = {
  file: { type: 'string', pattern: FILE_NAME },
  sha256: { type: 'string', pattern: HASH_PATTERN },
  bytes: { type: 'integer', minimum: 1, maximum: MAX_FILE_BYTES },
};

const record = (properties: Record<string, unknown>, optional: Record<string, unknown> = {}) => ({
  type: 'object',
  additionalProperties: false,
  required: Object.keys(properties),
  properties: { ...properties, ...optional },
});

const memory = { type: 'integer', minimum: 32, maximum: 1_048_576 };

const parseShape = parser<Manifest>(
  'image manifest',
  'image.manifest',
  record(
    {
      version: { type: 'integer', const: 1 },
      name: { type: 'string', pattern: NAME_PATTERN },
      arch: { type: 'string', const: 'x86_64' },
      kernel: record(fileProperties),
      // The kernel's own limit is 2048 (COMMAND_LINE_SIZE); printable, so that it can be shown as it is.
      commandLine: { type: 'string', maxLength: 1024, pattern: '^[ -~]*$' },
      memoryMiB: record({ minimum: memory, default: memory }),
      cpus: { type: 'integer', minimum: 1, maximum: 256 },
      agent: { type: 'boolean' },
      consoleDevice: { type: 'string', pattern: '^tty[A-Za-z0-9]{1,12}$' },
    },
    {
      initrd: record(fileProperties),
      disk: record({ ...fileProperties, format: { type: 'string', const: 'raw' } }),
    },
  ),
);

/** From outside: shape, then that no two files share a name. */
export function parseManifest(value: unknown): Manifest {
  const manifest = parseShape(value);
  const names = manifestFiles(manifest).map(({ file }) => file);
  if (new Set(names).size !== names.length) {
    throw new KithError({
      code: 'image.manifest',
      message: 'image manifest is not valid: two files have the same name',
    });
  }
  if (manifest.memoryMiB.default < manifest.memoryMiB.minimum) {
    throw new KithError({
      code: 'image.manifest',
      message: 'image manifest is not valid: default memory is below the minimum',
    });
  }
  return manifest;
}

export function parseManifestText(text: string): Manifest {
  return parseManifest(parseJson('image manifest', 'image.manifest', text, MAX_MANIFEST_BYTES));
}

/** Files in the order in which they travel: kernel, initrd, disk. */
export function manifestFiles(manifest: Manifest): readonly ImageFile[] {
  return [manifest.kernel, manifest.initrd, manifest.disk].filter((file) => file !== undefined);
}

export function imageBytes(manifest: Manifest): number {
  return manifestFiles(manifest).reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Keys sorted, no spaces: equal manifests are equal bytes, whoever wrote them. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
}

export function manifestHash(manifest: Manifest): string {
  return createHash('sha256').update(canonicalJson(manifest)).digest('hex');
}
