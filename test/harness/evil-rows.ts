/** An attack is a row: tried against the guard, then with the guard switched off. The first must be refused, the second succeed. */
import { expect, test } from 'vitest';
import type { GuardName } from '../hostile/guards.ts';
import { without } from './evil-guards.ts';

/** `succeeded`, or `refused: ` and how that showed. */
export type Outcome = 'succeeded' | `refused: ${string}`;

export interface Attack<World> {
  readonly name: string;
  /** What stands in its way, in words for the table. */
  readonly guard: string;
  /** Switched off for the second try: more than one where one guard stands behind the other. */
  readonly off: readonly GuardName[];
  /** Leaves the world as it was. */
  attack(world: World): Promise<Outcome>;
}

export interface AttackResult {
  readonly name: string;
  readonly guard: string;
  readonly withGuard: string;
  readonly withoutGuard: string;
}

declare module 'vitest' {
  interface TaskMeta {
    attack?: AttackResult;
  }
}

export function attacks<World>(rows: readonly Attack<World>[], world: () => World): void {
  test.for(rows)('$name', async (row, { task }) => {
    const withGuard = await row.attack(world());
    const withoutGuard = await without(row.off, () => row.attack(world()));
    task.meta.attack = { name: row.name, guard: row.guard, withGuard, withoutGuard };
    expect([withGuard, withoutGuard]).toEqual([expect.stringMatching(/^refused: /), 'succeeded']);
  });
}
