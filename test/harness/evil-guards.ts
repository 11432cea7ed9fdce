/** Guards that a hostile test can switch off: a vite plugin puts a switch around the very expression in the source that is the guard. */
import type { Plugin } from 'vitest/config';

export interface Guard {
  /** Path from the root of the project. */
  readonly file: string;
  /** The expression that protects, with any white space; it must stand in the file, or the tests do not start. */
  readonly find: string;
  /** What stands in its place while the guard is off. */
  readonly off: string;
  /** How often it stands there; default once. */
  readonly times?: number;
}

/** Names that are switched off now, in this test process. */
const switchedOff = new Set<string>();
(globalThis as { kithOff?: ReadonlySet<string> }).kithOff = switchedOff;

/** Runs the task without these guards. */
export async function without<T>(names: readonly string[], task: () => Promise<T>): Promise<T> {
  for (const name of names) switchedOff.add(name);
  try {
    return await task();
  } finally {
    for (const name of names) switchedOff.delete(name);
  }
}

/** For an attacker who has to know what his victims do without this guard. */
export const isOff = (name: string): boolean => switchedOff.has(name);

export function guardSwitches(root: string, guards: Readonly<Record<string, Guard>>): Plugin {
  return {
    name: 'kith-guard-switches',
    enforce: 'pre',
    transform(code, id) {
      const mine = Object.entries(guards).filter(([, { file }]) => id === `${root}${file}`);
      if (mine.length === 0) return undefined;
      let text = code;
      for (const [name, { file, find, off, times = 1 }] of mine) {
        const found = new RegExp(pattern(find), 'g');
        if (text.match(found)?.length !== times)
          throw new Error(`guard ${name}: not ${times} times in ${file}: ${find} (mend test/hostile/guards.ts)`);
        text = text.replace(
          found,
          (guard) => `(globalThis.kithOff?.has(${JSON.stringify(name)}) ? (${off}) : (${guard}))`,
        );
      }
      return { code: text, map: null };
    },
  };
}

/** However the formatter breaks its lines. */
const pattern = (find: string): string =>
  find
    .split(/\s+/)
    .map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    .join('\\s+')
    .replaceAll('\\.', '\\s*\\.');
