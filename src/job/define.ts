/** What a job script says and gets: plain data in, a LAN of guests out. */
import { KithError } from '../base/errors.ts';
import { NAME_PATTERN } from '../base/ids.ts';
import { parser } from '../base/validate.ts';
import { MAX_GUESTS } from '../protocol/limits.ts';
import type { ShapeWords } from '../net/shape.ts';
import type { LinkRung } from '../protocol/messages.ts';
import type { Role, Rung } from '../protocol/plan.ts';

export interface GuestOptions {
  /** Name of a recipe in `images/`. Default `micro`. */
  readonly image?: string;
  /** Memory of the guest, MiB. Default 112. */
  readonly memoryMiB?: number;
  /** Virtual processors. Default 1. */
  readonly cpus?: number;
  /** What its working disk may grow to, MiB. Default 0: what the owner of the host allows. */
  readonly diskMiB?: number;
}

export interface JobDefinition {
  /** RFC 1123 label, at most 32 characters. */
  readonly name: string;
  /**
   * `star` has the master in its centre, `{ star: ['worker-1', 'worker-2'] }` the first of these that is there, so that another
   * takes over when a hub goes away. Edges name guests: `{ edges: [['master', 'worker-1'], ['worker-1', 'worker-2']] }`.
   */
  readonly topology:
    | 'star'
    | 'mesh'
    | 'ring'
    | { readonly star: readonly string[] }
    | { readonly edges: readonly (readonly [string, string])[] };
  readonly network?: {
    /** IPv4 network of the LAN, always a /24. Default `10.77.0.0/24`. */
    readonly subnet?: string;
    /** Payload bytes per frame, 1280 to 65000. Default 1500. */
    readonly mtu?: number;
  };
  readonly master?: GuestOptions;
  readonly worker?: GuestOptions & {
    /** Worker guests to wait for before anything boots. Default 1. */
    readonly min?: number;
    /** Places on the LAN for worker guests; peers that come later get one while there are any. Default 16. */
    readonly max?: number;
  };
  /** How long guests are wanted at most, seconds: owners see it, and it binds the job. Default 0: open end. */
  readonly seconds?: number;
  /** Carriers that links may use, best first. Default `['direct', 'webrtc', 'stanza']`. */
  readonly wires?: readonly Rung[];
  /** Runs on the initiator once the guests are starting. What it returns is the job's result (JSON). */
  readonly run?: (context: RunContext) => Promise<unknown>;
}

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ExecOptions {
  /** The command is killed in the guest after this. Default 60. */
  readonly timeoutSeconds?: number;
  readonly signal?: AbortSignal;
}

export interface Guest {
  readonly name: string;
  readonly role: Role;
  readonly mac: string;
  readonly address: string;
  /** Nickname or JID of the peer that hosts it. */
  readonly peer: string;
  /** Runs a program in the guest through the guest agent (it works while the LAN is down). A bad exit code is a result, not an error. */
  exec(command: readonly string[], options?: ExecOptions): Promise<ExecResult>;
}

export interface PingResult {
  /** Ordered pairs of guests. */
  readonly pairs: number;
  readonly reachable: number;
  /** `master -> worker-2` for each pair that did not answer. */
  readonly silent: readonly string[];
}

/** Both ways alike, or each way by itself, from the first guest of `lan.link()` to the second and back; null: nothing any more. */
export type ShapeOrder = ShapeWords | { readonly there?: ShapeWords | null; readonly back?: ShapeWords | null };

/** One end of a link, as its peer reported it last: after each change, and at least every 10 s. */
export interface LinkEnd {
  readonly guest: string;
  /** The carrier that it sends on now. `unknown`: nothing has been reported yet. */
  readonly wire: Rung | 'down' | 'unknown';
  /** Why it is on none of the better ones. */
  readonly reasons?: Readonly<Partial<Record<LinkRung, string>>>;
  readonly roundTripMs?: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly drops: number;
  /** What this job has it suffer in what it sends: `delay 20ms loss 1%`. */
  readonly shape?: string;
  /** The carriers that this job allows it; those of the job definition if not said. */
  readonly wires?: readonly LinkRung[];
}

/**
 * One link of the topology, in the job's hand while it runs. Each call resolves when the peers at its ends have done it, and rejects
 * when one of them is not there (`job.no-guest`) or does not answer. What was set stays when another peer takes over a guest's place.
 */
export interface Link {
  /** In the order in which they were named. */
  readonly guests: readonly [string, string];
  /**
   * Makes the link slow, late or lossy, in the words and units of tc and netem (man tc, man tc-netem). Each end shapes what it
   * sends, so that a delay of 20 ms both ways adds 40 ms to a round trip. Replaces what was set for that way. Throws `shape.invalid`
   * before anything changes. Loss, duplication and corruption are of single frames; delay, jitter, reordering and rate act on
   * batches of up to some 40 frames, and times are kept to about a millisecond. Routing does not see it: frames do not flee a shape.
   *
   * `shape({ rate: '10mbit', delay: '20ms', jitter: '5ms', loss: '1%' })`, `shape({ there: { loss: '100%' } })`
   */
  shape(shape: ShapeOrder): Promise<void>;
  /** No shape any more; what still waits leaves at once. */
  clear(): Promise<void>;
  /** Only these carriers, best first; none cuts the link, and frames go another way if the topology has one. */
  wires(wires: readonly LinkRung[]): Promise<void>;
  /** `wires([])`. */
  cut(): Promise<void>;
  /** The carriers of the job definition again. */
  restore(): Promise<void>;
  status(): readonly [LinkEnd, LinkEnd];
}

export interface Lan {
  readonly subnet: string;
  readonly topology: string;
  readonly wires: readonly Rung[];
  /** Guests of the newest plan, master first. */
  readonly guests: readonly Guest[];
  readonly master: Guest;
  guest(name: string): Guest;
  /** The link between two guests that the topology joins. Throws `job.no-link`, with the links that there are. */
  link(a: string, b: string): Link;
  /** Resolves when each guest runs and answers the master's ping. Rejects when one fails to. */
  ready(options?: { readonly timeoutSeconds?: number; readonly signal?: AbortSignal }): Promise<void>;
  /** The same command in all guests at once. */
  execAll(
    command: readonly string[],
    options?: ExecOptions,
  ): Promise<readonly (ExecResult & { readonly guest: string })[]>;
  /** Each guest pings each other guest. */
  pingAll(options?: ExecOptions): Promise<PingResult>;
}

export interface RunContext {
  readonly lan: Lan;
  /** Aborts on Ctrl-C, `kith down` and a lost room. */
  readonly signal: AbortSignal;
  /** A line for whoever watches `kith run`. */
  readonly print: (text: string) => void;
}

/** Checks nothing yet, gives types: `kith run` checks before anything starts. */
export function defineJob(definition: JobDefinition): JobDefinition {
  return definition;
}

/** A job with all defaults filled in. */
export interface Job {
  readonly name: string;
  readonly topology: JobDefinition['topology'];
  readonly subnet: string;
  readonly mtu: number;
  readonly master: Required<GuestOptions>;
  readonly worker: Required<GuestOptions>;
  readonly min: number;
  readonly max: number;
  readonly seconds: number;
  readonly wires: readonly Rung[];
  readonly run: (context: RunContext) => Promise<unknown>;
}

const guestOptions = {
  image: { type: 'string', pattern: NAME_PATTERN },
  memoryMiB: { type: 'integer', minimum: 64, maximum: 1_048_576 },
  cpus: { type: 'integer', minimum: 1, maximum: 256 },
  diskMiB: { type: 'integer', minimum: 0, maximum: 1e9 },
};
const places = { type: 'integer', minimum: 0, maximum: MAX_GUESTS - 1 };
const closed = (properties: Record<string, unknown>, required: readonly string[] = []) => ({
  type: 'object',
  additionalProperties: false,
  properties,
  required,
});

const checkShape = parser<JobDefinition>('job', 'job.invalid', {
  ...closed(
    {
      name: { type: 'string', pattern: NAME_PATTERN },
      topology: {
        anyOf: [
          { type: 'string', enum: ['star', 'mesh', 'ring'] },
          closed(
            {
              star: { type: 'array', minItems: 1, maxItems: MAX_GUESTS, uniqueItems: true, items: { type: 'string' } },
            },
            ['star'],
          ),
          closed(
            {
              edges: {
                type: 'array',
                maxItems: 2000,
                items: { type: 'array', minItems: 2, maxItems: 2, items: { type: 'string' } },
              },
            },
            ['edges'],
          ),
        ],
      },
      network: closed({
        subnet: { type: 'string', pattern: '^(\\d{1,3}\\.){3}0/24$' },
        mtu: { type: 'integer', minimum: 1280, maximum: 65_000 },
      }),
      master: closed(guestOptions),
      worker: closed({ ...guestOptions, min: places, max: places }),
      seconds: { type: 'integer', minimum: 0, maximum: 1e9 },
      wires: {
        type: 'array',
        minItems: 1,
        maxItems: 3,
        uniqueItems: true,
        items: { type: 'string', enum: ['direct', 'webrtc', 'stanza'] },
      },
      run: {},
    },
    ['name', 'topology'],
  ),
});

const DEFAULT_GUEST: Required<GuestOptions> = { image: 'micro', memoryMiB: 112, cpus: 1, diskMiB: 0 };

/** From what a script exported to a checked job, or `job.invalid` with the reason. */
export function checkJob(value: unknown): Job {
  const { run = async () => undefined, ...data } = checkShape(value);
  if (typeof run !== 'function') throw invalid('run must be a function');
  const { min = 1, max = 16, ...worker } = data.worker ?? {};
  if (min > max) throw invalid(`worker.min is ${min}, more than worker.max ${max}`);
  return {
    name: data.name,
    topology: data.topology,
    subnet: data.network?.subnet ?? '10.77.0.0/24',
    mtu: data.network?.mtu ?? 1500,
    master: { ...DEFAULT_GUEST, ...data.master },
    worker: { ...DEFAULT_GUEST, ...worker },
    min,
    max,
    seconds: data.seconds ?? 0,
    wires: data.wires ?? ['direct', 'webrtc', 'stanza'],
    run,
  };
}

export const invalid = (why: string) =>
  new KithError({
    code: 'job.invalid',
    message: `job is not valid: ${why}`,
    hint: 'see "How a job script looks" in the README',
  });
