/**
 * The owner's word on a lease request: what may run here at all. Pure; files, clocks and humans are elsewhere.
 *
 * Who may (the first that says something): the file's rule for the device key, for the account, for the trust level, the file's
 * `default`; then `accept` of the configuration; then what the role does by itself. Where both the file and `accept` speak, the
 * stricter one counts. An account is only a name that a server can lend to anybody: its `always` holds for keys that are
 * verified, vouched for or invited, and is no more than `ask` for one that was first seen here.
 *
 * How much: the file's `caps`, and `limits` of the configuration or the command line. The smaller one counts, so a flag can only
 * lower what the file allows. Where neither speaks: half of the free memory, all processors, four guests, no other cap.
 *
 * Requests of the owner's own devices (trust `self`) need no rule, and neither hours nor duration bind them; all other caps do.
 */
import type { Capacity } from '../protocol/capacity.ts';
import { capFaults } from './policy-caps.ts';

/** How the key of a peer came to be known (room trust). */
export type Trust = 'self' | 'verified' | 'vouched' | 'invited' | 'first-sight';

export interface Who {
  /** Bare JID. */
  readonly account: string;
  /** Fingerprint of the device key. */
  readonly device?: string | undefined;
  readonly trust: Trust;
}

export type Word = 'always' | 'ask' | 'never';

/** `room`: whoever is in the room. `ask`: a human answers. A list: these bare JIDs and nobody else. `none`: nobody. */
export type Accept = 'room' | 'ask' | 'none' | readonly string[];

export interface Limits {
  /** Memory that all guests together may have, MiB. */
  readonly memoryMiB: number;
  /** Virtual processors that one guest may have. */
  readonly cpus: number;
  /** Guests at once. */
  readonly guests: number;
}

export interface Caps extends Partial<Limits> {
  /** Growth of one guest's working disk, MiB. */
  readonly diskMiB?: number;
  /** Of all guests together, in both directions, bytes per second. */
  readonly bandwidth?: number;
  /** A lease's whole duration, however often it is renewed. */
  readonly seconds?: number;
  /** `22:00-07:00`, local time. */
  readonly hours?: string;
  readonly internet?: boolean;
  readonly lan?: false;
}

/** What `policy.json` holds; all fields are optional. Keys of `friends`: bare JID, fingerprint of a device key, or trust level. */
export interface PolicyFile {
  readonly default?: Word;
  readonly friends?: Readonly<Record<string, Word>>;
  readonly caps?: Caps;
}

/** All that decides, whatever its source. */
export interface Policy {
  readonly file: PolicyFile;
  readonly role: Capacity['role'];
  /** False: this host cannot put guests into namespaces of their own. */
  readonly confined: boolean;
  /** From configuration file, environment and flags. */
  readonly accept: Accept | undefined;
  readonly limits: Partial<Limits>;
  /** Where neither file nor configuration says anything. */
  readonly defaults: Limits;
}

export interface LeaseQuestion {
  /** Full JID. */
  readonly from: string;
  readonly who: Who;
  readonly job: string;
  readonly role: 'master' | 'worker';
  readonly image: {
    readonly name: string;
    readonly hash: string;
    readonly bytes: number;
    readonly publisher?: string | undefined;
    /** It was on this machine before. */
    readonly seen: boolean;
  };
  readonly memoryMiB: number;
  readonly cpus: number;
  /** 0: not said. */
  readonly diskMiB: number;
  /** Whole duration; 0: open end. */
  readonly seconds: number;
  readonly internet: boolean;
  /** Of a lease that runs already. */
  readonly ageSeconds?: number;
}

export interface Use {
  readonly memoryMiB: number;
  readonly guests: number;
}

export interface Rule {
  /** Where the owner finds it: `policy.json friends["anna@example.org"]`. */
  readonly place: string;
  /** What it says, in words that the requester may read. */
  readonly words: string;
  /** `who`: asking again is of no use. `cap`: later it may fit. */
  readonly kind: 'who' | 'cap';
}

export interface Verdict {
  readonly answer: 'yes' | 'no' | 'ask';
  /** The one that decided. */
  readonly rule: Rule;
  /** All that speak for this answer; for a no each rule that would have been enough. */
  readonly reasons: readonly string[];
}

/** `inUse`: by all other leases. */
export function decide(question: LeaseQuestion, policy: Policy, now: Date, inUse: Use): Verdict {
  const said = wordFor(question.who, policy);
  const nobodyToAsk = said.word === 'ask' && policy.role !== 'peer';
  const noes: Rule[] = [
    ...(said.word === 'never' ? [said.rule] : []),
    ...(nobodyToAsk ? [{ ...said.rule, words: `${said.rule.words}, and nobody is there to be asked` }] : []),
    ...capFaults(question, policy, now, inUse),
  ];
  const [first] = noes;
  if (first) return { answer: 'no', rule: first, reasons: noes.map(({ words }) => words) };
  const reasons = [said.rule.words, 'within all caps'];
  return { answer: said.word === 'ask' ? 'ask' : 'yes', rule: said.rule, reasons };
}

interface Said {
  readonly word: Word;
  readonly rule: Rule;
}

const STRICTNESS: Readonly<Record<Word, number>> = { always: 0, ask: 1, never: 2 };

function wordFor(who: Who, policy: Policy): Said {
  const [file, accepted] = [wordOfFile(who, policy.file), wordOfAccept(who, policy.accept)];
  if (file && accepted) return STRICTNESS[accepted.word] > STRICTNESS[file.word] ? accepted : file;
  return file ?? accepted ?? wordOfRole(who, policy);
}

function wordOfFile(who: Who, file: PolicyFile): Said | undefined {
  const { device, account, trust } = who;
  const place = (key: string) => `policy.json friends[${JSON.stringify(key)}]`;
  const byDevice = device === undefined ? undefined : find(file, (key) => key === device);
  if (byDevice) return said(byDevice.word, place(byDevice.key), `device ${short(byDevice.key)} of ${account}`);
  const byAccount = find(file, (key) => sameAccount(key, account));
  if (byAccount) return namedOnly(who, said(byAccount.word, place(byAccount.key), account));
  const byTrust = find(file, (key) => key === trust);
  if (byTrust) return said(byTrust.word, place(byTrust.key), TRUST_WORDS[trust]);
  if (file.default === undefined || trust === 'self') return undefined;
  return said(file.default, 'policy.json default', 'everybody without a rule of their own');
}

/** Keys that differ in case alone name the same account: the strictest counts. */
function find({ friends = {} }: PolicyFile, matches: (key: string) => boolean) {
  return Object.entries(friends)
    .filter(([key]) => matches(key))
    .map(([key, word]) => ({ key, word }))
    .toSorted((a, b) => STRICTNESS[b.word] - STRICTNESS[a.word])[0];
}

function wordOfAccept(who: Who, accept: Accept | undefined): Said | undefined {
  if (accept === undefined || who.trust === 'self') return undefined;
  const place = 'accept in config.json';
  if (accept === 'none') return said('never', place, 'everybody');
  if (accept === 'ask') return said('ask', place, 'everybody');
  if (accept === 'room') return said('always', place, 'everybody in the room');
  if (!accept.some((account) => sameAccount(account, who.account))) return said('never', place, who.account);
  return namedOnly(who, said('always', place, who.account));
}

function wordOfRole({ account, trust }: Who, { role, confined }: Policy): Said {
  const place = `what kith ${role === 'initiator' ? 'run' : role} does by itself`;
  if (trust === 'self') return said('always', place, 'your own devices');
  if (role !== 'peer' && role !== 'worker') return said('never', place, 'anybody else: it lends nothing');
  if (!confined && trust !== 'verified') {
    const why = `${account}: guests cannot be confined on that machine, so only verified friends may (kith doctor says more)`;
    return said('never', place, why);
  }
  if (role === 'peer') return said('ask', place, 'everybody');
  return said(trust === 'first-sight' ? 'never' : 'always', place, TRUST_WORDS[trust]);
}

/** The name alone proves nothing: with a key that nobody vouched for, its `always` is a question. */
function namedOnly(who: Who, { word, rule }: Said): Said {
  if (word !== 'always' || who.trust !== 'first-sight') return { word, rule };
  const words = `${who.account} may, but this key was first seen there and nobody has verified it`;
  return { word: 'ask', rule: { ...rule, words } };
}

const WORDS: Readonly<Record<Word, string>> = {
  always: 'the owner takes guests from',
  ask: 'the owner wants to be asked about',
  never: 'the owner takes no guests from',
};

const TRUST_WORDS: Readonly<Record<Trust, string>> = {
  self: 'your own devices',
  verified: 'verified friends',
  vouched: 'friends whose device a verified one vouches for',
  invited: 'invited friends',
  'first-sight': 'peers whose key was only first seen there',
};

const said = (word: Word, place: string, whom: string): Said => ({
  word,
  rule: { place, words: `${WORDS[word]} ${whom}`, kind: 'who' },
});

const sameAccount = (a: string, b: string) => a.toLowerCase() === b.toLowerCase();
const short = (fingerprint: string) => fingerprint.slice(0, 20);

/** Memory that guests may have when the owner set no limit: half of what is free now, so that the machine's user feels nothing. */
export function defaultLimits(host: { readonly freeMemoryMiB: number; readonly cpus: number }): Limits {
  return { memoryMiB: Math.floor(host.freeMemoryMiB / 2), cpus: host.cpus, guests: 4 };
}
