/** `policy.json`: its schema, and how it is read and changed without losing what it says. */
import { mkdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describeError, KithError } from '../base/errors.ts';
import { shortId } from '../base/ids.ts';
import { parseJson, parser } from '../base/validate.ts';
import type { PolicyFile } from './policy.ts';

/** Some thousand friends. */
const MAX_BYTES = 262_144;

/** Two programs that write at the same moment: the later one starts again with what the earlier one wrote. */
const MAX_TRIES = 5;

const TIME = String.raw`([01]\d|2[0-3]):[0-5]\d`;
const JID = String.raw`[^@/\s]+@[^@/\s]+`;
/** What kith id prints of a key (room trust): 128 bits in groups of four digits. */
const FINGERPRINT = '([0-9a-f]{4}-){7}[0-9a-f]{4}';

const word = { type: 'string', enum: ['always', 'ask', 'never'] };
const count = { type: 'integer', minimum: 0, maximum: 1e9 };
const closed = (properties: Record<string, unknown>) => ({ type: 'object', additionalProperties: false, properties });

const checkShape = parser<PolicyFile>(
  'policy',
  'policy.invalid',
  closed({
    default: word,
    friends: {
      type: 'object',
      maxProperties: 2000,
      additionalProperties: false,
      patternProperties: { [`^(verified|vouched|invited|first-sight|${JID}|${FINGERPRINT})$`]: word },
    },
    caps: closed({
      cpus: count,
      memoryMiB: count,
      diskMiB: count,
      bandwidth: { ...count, maximum: 1e12 },
      guests: count,
      seconds: { ...count, minimum: 1 },
      hours: { type: 'string', pattern: `^${TIME}-(${TIME}|24:00)$` },
      internet: { type: 'boolean' },
      lan: { type: 'boolean' },
    }),
  }),
);

/** Throws `policy.invalid` with the name of the field that is wrong. */
export function parsePolicy(value: unknown): PolicyFile {
  const policy = checkShape(value);
  const [from, to] = policy.caps?.hours?.split('-') ?? [];
  if (from !== undefined && from === to)
    throw invalid(`/caps/hours ${from}-${to} is no time at all`, 'leave it out for all day, or use 00:00-24:00');
  if ((policy.caps as { readonly lan?: boolean } | undefined)?.lan)
    throw invalid(
      "/caps/lan is true, but guests never reach the owner's LAN",
      'leave it out: no setting opens the LAN',
    );
  return policy;
}

/** `{}` when there is none. Throws `policy.invalid` or `policy.unreadable`, with the path. */
export async function readPolicy(path: string): Promise<PolicyFile> {
  const text = await readText(path);
  return text === undefined ? {} : explained(path, () => parsePolicy(parse(text)));
}

export type PolicyValue = string | number | boolean;

/**
 * Sets the value at `keys` (undefined: takes it out), keeps everything else, and returns the policy that is now in force there.
 * The file appears whole, with mode 0600, or stays as it was; what would not be valid is never written.
 */
export function changePolicy(
  path: string,
  keys: readonly string[],
  value: PolicyValue | undefined,
): Promise<PolicyFile> {
  const work = changing.then(() => change(path, keys, value));
  changing = work.catch(() => {});
  return work;
}

/** Changes of this process, one after the other. */
let changing: Promise<unknown> = Promise.resolve();

async function change(path: string, keys: readonly string[], value: PolicyValue | undefined): Promise<PolicyFile> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  for (let tries = 1; ; tries++) {
    const before = await readText(path);
    const next = explained(path, () => {
      const whole = before === undefined ? {} : (parsePolicy(parse(before)) as Record<string, unknown>);
      return parsePolicy(withValue(whole, keys, value));
    });
    const target = await realpath(path).catch(() => path); // a link into somebody's dotfiles stays a link
    const draft = join(dirname(target), `.policy-${shortId()}`);
    try {
      await writeFile(draft, `${JSON.stringify(next, undefined, 2)}\n`, { mode: 0o600, flag: 'wx' });
      if ((await readText(path)) !== before && tries < MAX_TRIES) continue;
      await rename(draft, target);
      return next;
    } catch (cause) {
      throw new KithError({
        code: 'policy.unwritable',
        message: `cannot write ${path}: ${describeError(cause)}`,
        hint: 'look at the rights of its folder and the space on its disk',
        cause,
      });
    } finally {
      await rm(draft, { force: true }).catch(() => {});
    }
  }
}

function withValue(whole: Record<string, unknown>, keys: readonly string[], value: PolicyValue | undefined): unknown {
  const [first = '', ...rest] = keys;
  if (rest.length > 0) {
    const inner = { ...(whole[first] as Record<string, unknown> | undefined) };
    return { ...whole, [first]: withValue(inner, rest, value) };
  }
  const { [first]: _, ...others } = whole;
  return value === undefined ? others : { ...whole, [first]: value };
}

/** Undefined when there is no file. Who else may write there could let in whom they like: such a file is refused. */
async function readText(path: string): Promise<string | undefined> {
  try {
    const { mode, size } = await stat(path);
    if ((mode & 0o022) !== 0)
      throw new KithError({
        code: 'policy.unsafe',
        message: `others can change the policy in ${path}`,
        hint: `chmod 600 ${path}`,
      });
    if (size > MAX_BYTES) throw invalid(`${path} has ${size} bytes, more than ${MAX_BYTES}`, 'shorten it');
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof KithError) throw error;
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new KithError({
      code: 'policy.unreadable',
      message: `cannot read ${path}: ${describeError(error)}`,
      hint: 'make it readable or remove it',
      cause: error,
    });
  }
}

const parse = (text: string) => parseJson('policy', 'policy.invalid', text, MAX_BYTES);

function explained<T>(path: string, task: () => T): T {
  try {
    return task();
  } catch (error) {
    if (!(error instanceof KithError)) throw error;
    const hint = error.hint ?? 'kith policy check says whether it is right now; kith policy names all fields';
    throw new KithError({ code: error.code, message: `${path}: ${error.message}`, hint, cause: error });
  }
}

const invalid = (why: string, hint: string) =>
  new KithError({ code: 'policy.invalid', message: `policy is not valid: ${why}`, hint });
