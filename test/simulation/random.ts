/** Chance that a number repeats: what a scenario does is decided by its seed alone. */

export interface Random {
  /** 0 up to, not including, 1. */
  (): number;
  /** A whole number from 0 up to, not including, `below`. */
  below(below: number): number;
  pick<T>(list: readonly T[]): T;
  chance(share: number): boolean;
}

/** mulberry32: small, fast, and good enough for graphs. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  const random = () => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number) => Math.floor(random() * limit);
  return Object.assign(random, {
    below,
    pick: <T>(list: readonly T[]): T => list[below(list.length)]!,
    chance: (share: number) => random() < share,
  });
}
