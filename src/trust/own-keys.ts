/** The session and box key of this process, made anew at each ban; the ones before open what was under way, for a moment. */
import { randomBytes } from 'node:crypto';
import { createBoxKey, type BoxKey } from './box.ts';

interface OwnKey {
  /** 128 random bits, base64url. */
  readonly session: string;
  readonly box: BoxKey;
}

interface OwnKeys {
  readonly current: OwnKey;
  /** Those that messages to us may still name. */
  sessions(): readonly string[];
  find(session: string): OwnKey | undefined;
  rotate(): Promise<void>;
}

interface Kept extends OwnKey {
  until: number;
}

export async function openOwnKeys(options: { readonly now: () => number; readonly graceMs: number }): Promise<OwnKeys> {
  const { now, graceMs } = options;
  let kept: Kept[] = [];
  const make = async (): Promise<Kept> => ({
    session: randomBytes(16).toString('base64url'),
    box: await createBoxKey(),
    until: Infinity,
  });
  let current = await make();
  kept.push(current);
  return {
    get current() {
      return current;
    },
    sessions() {
      kept = kept.filter(({ until }) => until >= now());
      return kept.map(({ session }) => session);
    },
    find: (session) => kept.find((key) => key.session === session),
    async rotate() {
      const fresh = await make();
      current.until = now() + graceMs;
      kept.push(fresh);
      current = fresh;
    },
  };
}
