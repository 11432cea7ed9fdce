/** Manifests: one hash for equal content, and nothing odd passes the door. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  canonicalJson,
  manifestHash,
  MAX_MANIFEST_BYTES,
  parseManifest,
  parseManifestText,
  type Manifest,
} from '../../../src/image/manifest.ts';

const file = (name: string) => ({ file: name, sha256: 'a'.repeat(64), bytes: 5 });
const manifest: Manifest = {
  version: 1,
  name: 'micro',
  arch: 'x86_64',
  kernel: file('kernel'),
  initrd: file('initrd'),
  commandLine: 'console=ttyS0',
  memoryMiB: { minimum: 112, default: 128 },
  cpus: 1,
  agent: true,
  consoleDevice: 'ttyS0',
};

describe('a manifest', () => {
  it('has the same hash in whatever order its fields come', () => {
    const shuffled = JSON.parse(JSON.stringify(Object.fromEntries(Object.entries(manifest).reverse()))) as unknown;
    expect(manifestHash(parseManifest(shuffled))).toBe(manifestHash(manifest));
    expect(manifestHash({ ...manifest, cpus: 2 })).not.toBe(manifestHash(manifest));
  });

  it('is the JSON that it was, in canonical form', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
    expect(canonicalJson({ b: [1, { d: 1, c: undefined }], a: 'ü' })).toBe('{"a":"ü","b":[1,{"d":1}]}');
  });

  it.each([
    ['a path as a file name', { kernel: { ...file('kernel'), file: '../kernel' } }],
    ['a hidden file name', { kernel: { ...file('kernel'), file: '.kernel' } }],
    ["the store's own file", { kernel: { ...file('kernel'), file: 'MANIFEST.json' } }],
    ['two files of one name', { initrd: file('kernel') }],
    ['an empty file', { kernel: { ...file('kernel'), bytes: 0 } }],
    ['a file larger than any image', { kernel: { ...file('kernel'), bytes: 2 ** 50 } }],
    ['a hash that is none', { kernel: { ...file('kernel'), sha256: 'A'.repeat(64) } }],
    ['an unknown field', { run: 'rm -rf' }],
    ['another architecture', { arch: 'sparc' }],
    ['a line break in the command line', { commandLine: 'quiet\ninit=/bin/sh' }],
    ['a default below the minimum', { memoryMiB: { minimum: 128, default: 112 } }],
    ['another version', { version: 2 }],
    ['a disk that can name other files of the host', { disk: { ...file('disk'), format: 'qcow2' } }],
  ])('refuses %s', (_, change) => {
    expect(() => parseManifest({ ...manifest, ...change })).toThrow(
      expect.objectContaining({ code: 'image.manifest' }) as Error,
    );
  });

  it('takes a raw disk', () => {
    const disk = { ...file('disk'), format: 'raw' };
    expect(parseManifest({ ...manifest, disk })).toEqual({ ...manifest, disk });
  });

  it('refuses text that is too long before it parses it', () => {
    expect(() => parseManifestText(' '.repeat(MAX_MANIFEST_BYTES + 1))).toThrow(/more than/);
    expect(() => parseManifestText('{')).toThrow(/not JSON/);
    expect(parseManifestText(canonicalJson(manifest))).toEqual(manifest);
  });
});
