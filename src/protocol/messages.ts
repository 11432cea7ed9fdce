/** What peers say to each other. Requests get one reply of the kind given here, or an error; notices get none. */
import { NAME_PATTERN } from '../base/ids.ts';
import { parser } from '../base/validate.ts';
import { MAX_SNAP_BYTES, MIN_SNAP_BYTES } from './limits.ts';
import { imageRefSchema, planSchema, type ImageRef, type Plan, type Role, type Rung } from './plan.ts';

export type GuestState = 'fetching' | 'booting' | 'up' | 'stopped' | 'failed';

export interface LinkReport {
  /** Node numbers of both ends. */
  readonly from: number;
  readonly to: number;
  readonly wire: Rung | 'down';
  /** Why the link is on none of the better rungs, by rung. */
  readonly reasons: Readonly<Partial<Record<LinkRung, string>>>;
  readonly roundTripMs?: number;
  /** Share of the last hellos that were not answered in time, 0 to 1. */
  readonly loss: number;
  /** Of frames, over the life of the link, and per second of the last five. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly sentPerSecond: number;
  readonly receivedPerSecond: number;
  /** Batches that its wires refused. */
  readonly drops: number;
  /** On this wire, or down, since so many seconds. */
  readonly seconds: number;
}

export interface GuestReport {
  readonly state: GuestState;
  /** Spawn of QEMU to the guest agent's first answer. */
  readonly bootSeconds?: number;
  readonly accelerator?: string;
  readonly residentMiB?: number;
  readonly reason?: string;
  readonly links: readonly LinkReport[];
  /** Frames and batches that its switch dropped, by reason (net/counters.ts). */
  readonly drops?: Readonly<Record<string, number>>;
}

/** Bytes travel as base64 inside JSON. `total` is how many there are; ask again with a larger offset for the rest. */
export interface Page {
  readonly data: string;
  readonly offset: number;
  readonly total: number;
}

/** One direction of a link, as its sending end imposes it (net/shape.ts). Rate in bit/s, times in ms, shares 0 to 1. */
export interface LinkShape {
  readonly rate?: number;
  readonly delayMs?: number;
  readonly jitterMs?: number;
  readonly loss?: number;
  readonly duplicate?: number;
  readonly reorder?: number;
  readonly corrupt?: number;
  readonly limitFrames?: number;
  readonly limitBytes?: number;
}

/** Packet blocks (net/pcapng.ts) as base64, after a moment if there are none; frames seen since the start, and those left out. */
export interface CapturePage {
  readonly data: string;
  readonly received: number;
  readonly dropped: number;
}

export type LinkRung = Exclude<Rung, 'memory'>;

export type Request =
  | {
      readonly kind: 'lease.request';
      readonly job: string;
      readonly jobName: string;
      readonly role: Role;
      readonly memoryMiB: number;
      readonly cpus: number;
      readonly image: ImageRef;
      readonly seconds: number;
      /** What the working disk may grow to; not said: as the owner allows. */
      readonly diskMiB?: number;
      /** However often it is renewed; not said, or 0: open end. */
      readonly totalSeconds?: number;
    }
  | { readonly kind: 'lease.renew'; readonly lease: string; readonly seconds: number }
  | { readonly kind: 'lease.end'; readonly lease: string; readonly reason: string }
  | { readonly kind: 'plan.apply'; readonly lease: string; readonly plan: Plan }
  | { readonly kind: 'guest.report'; readonly job: string; readonly lease: string; readonly report: GuestReport }
  | {
      readonly kind: 'guest.exec';
      readonly lease: string;
      readonly command: readonly string[];
      readonly timeoutSeconds: number;
    }
  | {
      readonly kind: 'guest.output';
      readonly lease: string;
      readonly exec: string;
      readonly stream: 'stdout' | 'stderr';
      readonly offset: number;
    }
  | { readonly kind: 'guest.log'; readonly lease: string; readonly offset: number }
  | { readonly kind: 'guest.type'; readonly lease: string; readonly data: string }
  | {
      readonly kind: 'link.set';
      readonly lease: string;
      /** The other end. */
      readonly node: number;
      /** Rungs that this end may use, none to cut the link; null: those of the plan. Not said: as they are. */
      readonly wires?: readonly LinkRung[] | null;
      /** What this end sends suffers so; null: nothing any more. Not said: as it is. */
      readonly shape?: LinkShape | null;
    }
  | {
      readonly kind: 'capture.open';
      readonly lease: string;
      /** The other end of the link to look at; not said: the guest itself. */
      readonly link?: number;
      /** Bytes of each frame that are wanted. */
      readonly snapLength: number;
    }
  | { readonly kind: 'capture.read'; readonly lease: string; readonly capture: string }
  | { readonly kind: 'capture.close'; readonly lease: string; readonly capture: string }
  | { readonly kind: 'image.fetch'; readonly job: string; readonly hash: string; readonly channel: string }
  | { readonly kind: 'room.join'; readonly token: string }
  | { readonly kind: 'signal'; readonly channel: string; readonly session: string; readonly data: unknown };

export type RequestKind = Request['kind'];
export type RequestOf<K extends RequestKind> = Extract<Request, { readonly kind: K }>;

/** The reply to each request. */
export interface Replies {
  'lease.request': { readonly lease: string; readonly seconds: number };
  'lease.renew': { readonly seconds: number };
  'lease.end': Record<string, never>;
  'plan.apply': { readonly revision: number };
  'guest.report': Record<string, never>;
  'guest.exec': {
    readonly exec: string;
    readonly exitCode: number;
    readonly signal?: number;
    readonly stdout: Page;
    readonly stderr: Page;
  };
  'guest.output': Page;
  'guest.log': Page;
  'guest.type': Record<string, never>;
  'link.set': Record<string, never>;
  'capture.open': { readonly capture: string };
  'capture.read': CapturePage;
  'capture.close': Record<string, never>;
  'image.fetch': Record<string, never>;
  /** Signed certificate of membership (trust/membership.ts). */
  'room.join': { readonly certificate: string };
  signal: Record<string, never>;
}

/** Said to the whole room, answered by nobody, read by nobody: that it came is what it says. */
export interface Heartbeat {
  readonly kind: 'heartbeat';
  readonly at: number;
}

/** What a refused request carries back: the sender's KithError, without its stack. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

const text = (maxLength: number) => ({ type: 'string', maxLength });
const id = { type: 'string', minLength: 1, maxLength: 64 };
const count = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const seconds = { type: 'integer', minimum: 1, maximum: 86_400 };
const channel = { type: 'string', minLength: 1, maxLength: 160 };
const rungs = ['direct', 'webrtc', 'stanza', 'memory'];

const share = { type: 'number', minimum: 0, maximum: 1 };
const milliseconds = { type: 'number', minimum: 0, maximum: 60_000 };
const node = { type: 'integer', minimum: 1, maximum: 65_000 };

const record = (properties: Record<string, unknown>, optional: Record<string, unknown> = {}) => ({
  type: 'object',
  additionalProperties: false,
  required: Object.keys(properties),
  properties: { ...properties, ...optional },
});

const request = (kind: RequestKind, properties: Record<string, unknown>, optional: Record<string, unknown> = {}) =>
  record({ kind: { const: kind }, ...properties }, optional);

const reason = text(200);

const linkReport = record(
  {
    from: count,
    to: count,
    wire: { type: 'string', enum: [...rungs, 'down'] },
    reasons: record({}, { direct: reason, webrtc: reason, stanza: reason }),
    loss: share,
    sentBytes: count,
    receivedBytes: count,
    sentPerSecond: count,
    receivedPerSecond: count,
    drops: count,
    seconds: count,
  },
  { roundTripMs: { type: 'number', minimum: 0 } },
);

/** More reasons than any switch has. */
const drops = {
  type: 'object',
  maxProperties: 64,
  propertyNames: { type: 'string', pattern: '^[a-z-]{1,32}$' },
  additionalProperties: count,
};

const guestReport = record(
  {
    state: { type: 'string', enum: ['fetching', 'booting', 'up', 'stopped', 'failed'] },
    links: { type: 'array', maxItems: 200, items: linkReport },
  },
  {
    bootSeconds: { type: 'number', minimum: 0 },
    accelerator: text(16),
    residentMiB: { type: 'number', minimum: 0 },
    reason: text(1000),
    drops,
  },
);

const linkShape = {
  ...record(
    {},
    {
      rate: { type: 'number', minimum: 1000, maximum: 1e12 },
      delayMs: milliseconds,
      jitterMs: milliseconds,
      loss: share,
      duplicate: share,
      reorder: share,
      corrupt: share,
      limitFrames: { type: 'integer', minimum: 1, maximum: 1_000_000 },
      limitBytes: { type: 'number', minimum: 1, maximum: 2 ** 30 },
    },
  ),
  nullable: true,
};

const linkWires = {
  type: 'array',
  nullable: true,
  maxItems: 3,
  uniqueItems: true,
  items: { type: 'string', enum: ['direct', 'webrtc', 'stanza'] },
};

const page = record({ data: text(65_536), offset: count, total: count });

const requestSchema = {
  type: 'object',
  required: ['kind'],
  properties: { kind: { type: 'string' } },
  discriminator: { propertyName: 'kind' },
  oneOf: [
    request(
      'lease.request',
      {
        job: id,
        jobName: { type: 'string', pattern: NAME_PATTERN },
        role: { type: 'string', enum: ['master', 'worker'] },
        memoryMiB: { type: 'integer', minimum: 64, maximum: 1_048_576 },
        cpus: { type: 'integer', minimum: 1, maximum: 256 },
        image: imageRefSchema,
        seconds,
      },
      {
        diskMiB: { type: 'integer', minimum: 0, maximum: 1e9 },
        totalSeconds: { type: 'integer', minimum: 0, maximum: 1e9 },
      },
    ),
    request('lease.renew', { lease: id, seconds }),
    request('lease.end', { lease: id, reason: text(300) }),
    request('plan.apply', { lease: id, plan: planSchema }),
    request('guest.report', { job: id, lease: id, report: guestReport }),
    request('guest.exec', {
      lease: id,
      command: { type: 'array', minItems: 1, maxItems: 256, items: text(32_768) },
      timeoutSeconds: seconds,
    }),
    request('guest.output', {
      lease: id,
      exec: id,
      stream: { type: 'string', enum: ['stdout', 'stderr'] },
      offset: count,
    }),
    request('guest.log', { lease: id, offset: count }),
    request('guest.type', { lease: id, data: text(8192) }),
    request('link.set', { lease: id, node }, { wires: linkWires, shape: linkShape }),
    request(
      'capture.open',
      { lease: id, snapLength: { type: 'integer', minimum: MIN_SNAP_BYTES, maximum: MAX_SNAP_BYTES } },
      { link: node },
    ),
    request('capture.read', { lease: id, capture: id }),
    request('capture.close', { lease: id, capture: id }),
    request('image.fetch', { job: id, hash: id, channel }),
    request('room.join', { token: text(128) }),
    request('signal', { channel, session: id, data: {} }),
  ],
};

export const parseRequest = parser<Request>('message', 'protocol.message', requestSchema);

const nothing = record({});
const replySchemas: Record<RequestKind, Record<string, unknown>> = {
  'lease.request': record({ lease: id, seconds }),
  'lease.renew': record({ seconds }),
  'lease.end': nothing,
  'plan.apply': record({ revision: count }),
  'guest.report': nothing,
  'guest.exec': record({ exec: id, exitCode: { type: 'integer' }, stdout: page, stderr: page }, { signal: count }),
  'guest.output': page,
  'guest.log': page,
  'guest.type': nothing,
  'link.set': nothing,
  'capture.open': record({ capture: id }),
  'capture.read': record({ data: text(65_536), received: count, dropped: count }),
  'capture.close': nothing,
  'image.fetch': nothing,
  'room.join': record({ certificate: text(4096) }),
  signal: nothing,
};

const replyParsers = Object.fromEntries(
  Object.entries(replySchemas).map(([kind, schema]) => [kind, parser(`reply to ${kind}`, 'protocol.reply', schema)]),
);

export function parseReply<K extends RequestKind>(kind: K, value: unknown): Replies[K] {
  const parse = replyParsers[kind];
  if (!parse) throw new TypeError(`no reply schema for ${kind}`);
  return parse(value) as Replies[K];
}

export const parseRefusal = parser<Refusal>(
  'refusal',
  'protocol.refusal',
  record({ code: text(64), message: text(1000) }, { hint: text(500) }),
);
