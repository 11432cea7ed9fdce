/** What a node knows of everybody's links, and which links live by that. Pure; only link-state.ts uses it. */
import type { MacNumber } from './directory.ts';
import type { NoteBody, NoteNeighbour } from './note.ts';
import type { Edge, LiveEdge } from './topology.ts';

export interface Link {
  /** Tenths of a millisecond, 1 to 65,535 (cost.ts). */
  readonly cost: number;
  /** Bytes. */
  readonly maxBatch: number;
}

interface Entry {
  readonly sequence: number;
  /** As it came; undefined once it is too old. Its number stays, or else neighbours would hand it to each other for ever. */
  readonly note: Uint8Array | undefined;
  readonly at: number;
  /** Lowest first. */
  readonly neighbours: readonly NoteNeighbour[];
  readonly macs: readonly MacNumber[];
}

export interface LinkDatabase {
  /** Forgets everything about nodes that are not in the plan any more. True: some links are new. */
  setPlan(edges: readonly Edge[]): boolean;
  /** Nodes of the plan. */
  readonly nodes: ReadonlySet<number>;
  has(a: number, b: number): boolean;
  get(origin: number): Entry | undefined;
  put(body: NoteBody, note: Uint8Array, now: number): void;
  /** Our own links have changed. */
  judgeOwn(): void;
  /** What came before `time` counts no more. */
  expire(time: number): void;
  entries(): IterableIterator<[origin: number, entry: Entry]>;
  /** Equal, most likely, where and only where two nodes have the same notes. */
  readonly hash: readonly [high: number, low: number];
  /** A new array after each change, lower node first in each link. */
  readonly edges: readonly LiveEdge[];
}

/** One number for both directions of a link; nodes are u16. */
const keyOf = (a: number, b: number): number => (a < b ? a * 65_536 + b : b * 65_536 + a);

const NOBODY: readonly NoteNeighbour[] = [];

/** `own`: our links as they are now. They can be worse than what we told, and never better, because nobody else knows yet. */
export function createLinkDatabase(self: number, own: ReadonlyMap<number, Link>): LinkDatabase {
  const all = new Map<number, Entry>();
  const live = new Map<number, LiveEdge>();
  let plan: ReadonlySet<number> = new Set();
  let nodes: ReadonlySet<number> = new Set();
  let edges: readonly LiveEdge[] | undefined = [];
  let [high, low] = [0, 0];

  /** What one end says of a link. */
  function said(by: number, about: number): Link | undefined {
    const told = find(all.get(by)?.neighbours ?? NOBODY, about);
    if (!told || by !== self) return told;
    const now = own.get(about);
    return now && { cost: told.cost, maxBatch: Math.min(told.maxBatch, now.maxBatch) };
  }

  /** It lives when the plan has it and both ends list it. The worse word counts, so that it costs the same in both directions. */
  function judge(a: number, b: number): void {
    const key = keyOf(a, b);
    const left = plan.has(key) ? said(a, b) : undefined;
    const right = left && said(b, a);
    const before = live.get(key);
    if (!left || !right) {
      if (live.delete(key)) edges = undefined;
      return;
    }
    const cost = Math.max(left.cost, right.cost);
    const maxBatch = Math.min(left.maxBatch, right.maxBatch);
    if (before?.[2] === cost && before[3] === maxBatch) return;
    live.set(key, [Math.min(a, b), Math.max(a, b), cost, maxBatch]);
    edges = undefined;
  }

  function replace(origin: number, entry: Entry | undefined): void {
    const before = all.get(origin);
    if (before) mix(origin, before.sequence);
    if (entry) {
      all.set(origin, entry);
      mix(origin, entry.sequence);
    } else {
      all.delete(origin);
    }
    differences(before?.neighbours ?? NOBODY, entry?.neighbours ?? NOBODY, (other) => judge(origin, other));
  }

  /** Exclusive or: in any order, and the second time takes it out again. Multipliers of MurmurHash3 (fmix32). */
  function mix(origin: number, sequence: number): void {
    let hash = Math.imul(sequence ^ Math.imul(origin + 1, 0x9e37_79b1), 0x85eb_ca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
    high = (high ^ hash ^ (hash >>> 16)) >>> 0;
    hash = Math.imul(hash ^ (hash >>> 15) ^ sequence, 0x27d4_eb2f);
    low = (low ^ hash ^ (hash >>> 16)) >>> 0;
  }

  return {
    setPlan(planned) {
      const before = plan;
      plan = new Set(planned.map(([a, b]) => keyOf(a, b)));
      nodes = new Set(planned.flat());
      for (const origin of all.keys()) if (!nodes.has(origin)) replace(origin, undefined);
      for (const [a, b] of [...live.values(), ...planned]) judge(a, b);
      return [...plan].some((key) => !before.has(key));
    },
    get nodes() {
      return nodes;
    },
    has: (a, b) => plan.has(keyOf(a, b)),
    get: (origin) => all.get(origin),
    put: ({ origin, sequence, neighbours, macs }, note, now) =>
      replace(origin, { sequence, note, at: now, neighbours, macs }),
    judgeOwn() {
      for (const { node } of all.get(self)?.neighbours ?? NOBODY) judge(self, node);
    },
    expire(time) {
      for (const [origin, { sequence, note, at }] of all) {
        if (note && at < time && origin !== self) {
          replace(origin, { sequence, note: undefined, at, neighbours: NOBODY, macs: [] });
        }
      }
    },
    entries: () => all.entries(),
    get hash() {
      return [high, low] as const;
    },
    get edges() {
      return (edges ??= [...live.values()]);
    },
  };
}

function find(neighbours: readonly NoteNeighbour[], node: number): NoteNeighbour | undefined {
  let low = 0;
  let high = neighbours.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (neighbours[middle]!.node < node) low = middle + 1;
    else high = middle;
  }
  return neighbours[low]?.node === node ? neighbours[low] : undefined;
}

/** Of two lists in rising order, what is in one alone or not the same: the hub of a star has a hundred links and changes one. */
function differences(
  before: readonly NoteNeighbour[],
  after: readonly NoteNeighbour[],
  differs: (node: number) => void,
): void {
  for (let i = 0, j = 0; i < before.length || j < after.length;) {
    const [old, now] = [before[i], after[j]];
    if (old && now && old.node === now.node) {
      if (old.cost !== now.cost || old.maxBatch !== now.maxBatch) differs(old.node);
      i++;
      j++;
    } else if (!now || (old && old.node < now.node)) {
      differs(old!.node);
      i++;
    } else {
      differs(now.node);
      j++;
    }
  }
}
