/** What `kith policy set` and `friend` take: names of fields and values as people write them, turned into changes of the file. */
import { KithError } from '../base/errors.ts';
import { changePolicy, type PolicyValue } from './policy-file.ts';
import type { PolicyFile, Who } from './policy.ts';

const word = (text: string) => text;
const yesNo = (text: string) => ({ yes: true, true: true, no: false, false: false })[text] ?? text;

/** A number with one of these behind it. What is none goes on as it is: the schema says what is wrong with it. */
const number =
  (units: Readonly<Record<string, number>>) =>
  (text: string): PolicyValue => {
    const [, digits, unit = ''] = /^(\d+)\s*([A-Za-z]*)$/.exec(text) ?? [];
    const factor = Object.hasOwn(units, unit) ? units[unit] : unit === '' ? 1 : undefined;
    return digits === undefined || factor === undefined ? text : Number(digits) * factor;
  };

const MIB = { M: 1, MiB: 1, G: 1024, GiB: 1024 };
const BYTES = { k: 1e3, K: 1e3, M: 1e6, G: 1e9 };
const SECONDS = { s: 1, m: 60, min: 60, h: 3600, d: 86_400 };

const FIELDS: Readonly<
  Record<string, { readonly keys: readonly string[]; readonly parse: (text: string) => PolicyValue }>
> = {
  default: { keys: ['default'], parse: word },
  cpus: { keys: ['caps', 'cpus'], parse: number({}) },
  memoryMiB: { keys: ['caps', 'memoryMiB'], parse: number(MIB) },
  diskMiB: { keys: ['caps', 'diskMiB'], parse: number(MIB) },
  bandwidth: { keys: ['caps', 'bandwidth'], parse: number(BYTES) },
  guests: { keys: ['caps', 'guests'], parse: number({}) },
  seconds: { keys: ['caps', 'seconds'], parse: number(SECONDS) },
  hours: { keys: ['caps', 'hours'], parse: word },
  internet: { keys: ['caps', 'internet'], parse: yesNo },
  lan: { keys: ['caps', 'lan'], parse: yesNo },
};

/** `none` takes the field out. Throws `policy.no-field`, or `policy.invalid` when the value does not fit. */
export async function setField(path: string, name: string, value: string): Promise<PolicyFile> {
  const key = name.replace(/^caps\./, '');
  const field = Object.hasOwn(FIELDS, key) ? FIELDS[key] : undefined;
  if (!field) {
    throw new KithError({
      code: 'policy.no-field',
      message: `the policy has no field ${name}`,
      hint: `one of ${Object.keys(FIELDS).join(', ')}`,
    });
  }
  return changePolicy(path, field.keys, value === 'none' ? undefined : field.parse(value));
}

/** `none` takes the rule out. The friend is a bare JID, the fingerprint of a device key, or a trust level. */
export async function setFriend(path: string, friend: string, rule: string): Promise<PolicyFile> {
  try {
    return await changePolicy(path, ['friends', friend], rule === 'none' ? undefined : rule);
  } catch (error) {
    if (!(error instanceof KithError) || error.code !== 'policy.invalid') throw error;
    const hint =
      'a friend is account@server, a fingerprint as kith id prints it, or verified, vouched, invited, first-sight; a rule is always, ask, never or none';
    throw new KithError({ code: error.code, message: error.message, hint, cause: error });
  }
}

/** A yes is kept for the very key that asked, a no for all keys of that account: neither lets in more than was meant. */
export function ruleFor(who: Who, yes: boolean): { readonly friend: string; readonly rule: 'always' | 'never' } {
  return yes ? { friend: who.device ?? who.account, rule: 'always' } : { friend: who.account, rule: 'never' };
}
