/** What a program needs to run: the interpreter and shared libraries that its ELF headers name (System V gABI, chapter 5). */

const MAGIC = 0x7f454c46;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NEEDED = 1;
const DT_STRTAB = 5;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly bytes: number;
}

export interface Needs {
  readonly interpreter: string | undefined;
  readonly libraries: readonly string[];
}

/** Empty for anything that is not a 64-bit little-endian ELF file. */
export function elfNeeds(file: Buffer): Needs {
  if (file.length < 64 || file.readUInt32BE(0) !== MAGIC || file[4] !== 2 || file[5] !== 1) {
    return { interpreter: undefined, libraries: [] };
  }
  const segments = readSegments(file);
  const interp = segments.find((segment) => segment.type === PT_INTERP);
  const interpreter = interp && file.toString('latin1', interp.offset, interp.offset + interp.bytes - 1);
  const dynamic = segments.find((segment) => segment.type === PT_DYNAMIC);
  return { interpreter, libraries: dynamic ? readLibraries(file, segments, dynamic) : [] };
}

function readSegments(file: Buffer): Segment[] {
  const table = Number(file.readBigUInt64LE(32));
  const entry = file.readUInt16LE(54);
  const count = file.readUInt16LE(56);
  return Array.from({ length: count }, (_, index) => {
    const at = table + index * entry;
    return {
      type: file.readUInt32LE(at),
      offset: Number(file.readBigUInt64LE(at + 8)),
      address: Number(file.readBigUInt64LE(at + 16)),
      bytes: Number(file.readBigUInt64LE(at + 32)),
    };
  });
}

function readLibraries(file: Buffer, segments: readonly Segment[], dynamic: Segment): string[] {
  const names: number[] = [];
  let strings = 0;
  for (let at = dynamic.offset; at + 16 <= dynamic.offset + dynamic.bytes; at += 16) {
    const tag = Number(file.readBigInt64LE(at));
    const value = Number(file.readBigUInt64LE(at + 8));
    if (tag === DT_NEEDED) names.push(value);
    if (tag === DT_STRTAB) strings = value;
  }
  const load = segments.find(
    ({ type, address, bytes }) => type === PT_LOAD && strings >= address && strings < address + bytes,
  );
  if (!load) return [];
  const base = load.offset + strings - load.address;
  return names.map((name) => file.toString('latin1', base + name, file.indexOf(0, base + name)));
}
