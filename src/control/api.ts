/** What a running peer answers to its owner's own programs: types and the schemas of both directions. */
import { parser, type Parse } from '../base/validate.ts';
import type { Hold, HoldAction } from '../job/consent-hold.ts';
import type { Decided, Waiting } from '../job/consent.ts';
import type { LinkEnd } from '../job/define.ts';
import type { PolicyRow } from '../job/policy-view.ts';
import type { ShapeWords } from '../net/shape.ts';
import { MAX_SNAP_BYTES, MIN_SNAP_BYTES } from '../protocol/limits.ts';
import type { CapturePage, LinkReport, LinkRung } from '../protocol/messages.ts';

export interface PeerStatus {
  readonly peer: {
    /** Profile; names the runtime directory. */
    readonly name: string;
    /** Full JID. */
    readonly jid: string;
    readonly role: 'initiator' | 'worker' | 'peer' | 'host';
    readonly room: string;
    /** Fingerprint of the key of this device. */
    readonly device: string;
    /** What holds guests on this machine. */
    readonly confinement: readonly string[];
    readonly pid: number;
    readonly software: string;
    readonly uptimeSeconds: number;
    readonly residentMiB: number;
  };
  readonly occupants: readonly OccupantStatus[];
  readonly job?: {
    readonly id: string;
    readonly name: string;
    readonly topology: string;
    readonly revision: number;
    readonly state: string;
    readonly subnet: string;
  };
  readonly guests: readonly GuestStatus[];
  readonly links: readonly LinkStatus[];
}

export interface OccupantStatus {
  readonly nick: string;
  readonly jid: string;
  /** False: silent for 30 s. */
  readonly alive: boolean;
  /** How its key is known, `stranger` or `refused`; and why. */
  readonly trust: string;
  readonly because: string;
  /** Fingerprint of its device key, and the key itself; absent: it has shown none. */
  readonly device?: string;
  readonly key?: string;
  /** What holds guests there, by its own word. */
  readonly confinement?: readonly string[];
  readonly role?: string;
  readonly cpus?: number;
  readonly memoryMiB?: number;
  readonly accelerator?: string;
  readonly guests?: number;
  readonly software?: string;
  readonly accepts?: boolean;
}

export interface GuestStatus {
  readonly name: string;
  readonly role: string;
  readonly mac: string;
  readonly address: string;
  /** Nickname of the peer that hosts it. */
  readonly peer: string;
  readonly state: string;
  readonly bootSeconds?: number;
  readonly residentMiB?: number;
  readonly accelerator?: string;
  readonly reason?: string;
  /** What its switch dropped, by reason. */
  readonly drops?: Readonly<Record<string, number>>;
}

/** What a peer reports of its end of a link, between guests by name. */
export interface LinkStatus extends Omit<LinkReport, 'from' | 'to'> {
  readonly from: string;
  readonly to: string;
}

/** Bytes as base64. */
export interface ExecReply {
  readonly exitCode: number;
  readonly signal?: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One piece of a guest's console log. Offsets count from the guest's first byte; old bytes may be gone: `offset` says where the piece begins. */
export interface LogPage {
  readonly data: string;
  readonly offset: number;
  readonly total: number;
}

/** Requests that wait for the owner, and the last ones that were decided, newest first. */
export interface Requests {
  readonly waiting: readonly Waiting[];
  readonly decided: readonly Decided[];
}

/** One of either. */
export type LeaseRequest = Waiting | Decided;

export interface Answered {
  readonly request: Decided;
  /** The rule that was written into the policy, or why it was not. */
  readonly remembered?: { readonly friend: string; readonly rule: string };
  readonly notRemembered?: string;
}

/** The policy in force. */
export interface PolicyView {
  readonly path: string;
  readonly role: string;
  readonly confined: boolean;
  /** What is wrong with the file as it is now: the last good one is in force. */
  readonly fault?: string;
  readonly rows: readonly PolicyRow[];
}

/** What guests of this host are held to. */
export interface Holds {
  readonly guests: readonly Hold[];
}

/** The two ends of a link, in the order in which they were named. */
export interface LinkView {
  readonly ends: readonly [LinkEnd, LinkEnd];
}

/** A capture that runs, and where: whoever reads it brings this back. */
export interface CaptureHandle {
  /** At whose peer it runs. */
  readonly guest: string;
  readonly lease: string;
  readonly capture: string;
}

/** What is captured: a guest, or a link as one of its ends sees it. */
export type CaptureTarget = { readonly guest: string } | { readonly link: readonly [string, string] };

export interface PeerApi {
  status(): Promise<PeerStatus>;
  /** The signal aborts when the program that asked has gone. */
  exec(
    params: { readonly guest: string; readonly command: readonly string[]; readonly timeoutSeconds: number },
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<ExecReply>;
  log(params: { readonly guest: string; readonly offset: number }): Promise<LogPage>;
  type(params: { readonly guest: string; readonly data: string }): Promise<Record<string, never>>;
  /** Looks at a link of the job that runs here, and changes what is said: null for no shape, and for the carriers of the job. */
  link(params: {
    readonly guests: readonly [string, string];
    readonly there?: ShapeWords | null;
    readonly back?: ShapeWords | null;
    readonly wires?: readonly LinkRung[] | null;
  }): Promise<LinkView>;
  /** Of any guest or link of the job that runs here, else of what this host carries. */
  captureOpen(params: { readonly target: CaptureTarget; readonly snapLength: number }): Promise<CaptureHandle>;
  /** What has come since the last time, after some seconds at most. */
  captureRead(params: CaptureHandle): Promise<CapturePage>;
  captureClose(params: CaptureHandle): Promise<Record<string, never>>;
  /** Ends the peer, and with it the job that it runs. */
  down(): Promise<Record<string, never>>;
  /** Contacts were changed by another program; `forget`: keys that it has taken out. */
  reconsider(params: { readonly forget: readonly string[] }): Promise<Record<string, never>>;
  requests(): Promise<Requests>;
  answer(params: { readonly id: string; readonly yes: boolean; readonly remember: boolean }): Promise<Answered>;
  explain(params: { readonly id: string }): Promise<LeaseRequest>;
  policy(): Promise<PolicyView>;
  /** Reads the policy file now; leases that it does not allow any more end. */
  policyChanged(): Promise<PolicyView>;
  /** The owner's hand on one running guest of this host, or on all. */
  hold(params: HoldAction & { readonly guest?: string }): Promise<Holds>;
}

export type Method = keyof PeerApi;

const record = (properties: Record<string, unknown> = {}, optional: Record<string, unknown> = {}) => ({
  type: 'object',
  additionalProperties: false,
  required: Object.keys(properties),
  properties: { ...properties, ...optional },
});
const text = (maxLength: number) => ({ type: 'string', maxLength });
const guest = { type: 'string', minLength: 1, maxLength: 64 };
const requestId = { type: 'string', minLength: 1, maxLength: 64 };
const pair = { type: 'array', minItems: 2, maxItems: 2, items: guest };
const word = { anyOf: [{ type: 'string', maxLength: 40 }, { type: 'number' }] };
/** Read by net/shape.ts, which says better what is wrong. */
const shapeWords = { type: 'object', nullable: true, maxProperties: 16, additionalProperties: word };
const handle = { guest, lease: requestId, capture: requestId };
const count = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER };

/** Parameters of each method, checked by the peer before it looks at them. */
export const parseParams: Readonly<Record<Method, Parse<unknown>>> = {
  status: parser('status', 'control.params', record()),
  exec: parser(
    'exec',
    'control.params',
    record({
      guest,
      command: { type: 'array', minItems: 1, maxItems: 256, items: text(32_768) },
      timeoutSeconds: { type: 'integer', minimum: 1, maximum: 86_400 },
    }),
  ),
  log: parser('log', 'control.params', record({ guest, offset: count })),
  type: parser('type', 'control.params', record({ guest, data: text(8192) })),
  link: parser(
    'link',
    'control.params',
    record(
      { guests: pair },
      {
        there: shapeWords,
        back: shapeWords,
        wires: { type: 'array', nullable: true, maxItems: 3, items: text(16) },
      },
    ),
  ),
  captureOpen: parser(
    'captureOpen',
    'control.params',
    record({
      target: { anyOf: [record({ guest }), record({ link: pair })] },
      snapLength: { type: 'integer', minimum: MIN_SNAP_BYTES, maximum: MAX_SNAP_BYTES },
    }),
  ),
  captureRead: parser('captureRead', 'control.params', record(handle)),
  captureClose: parser('captureClose', 'control.params', record(handle)),
  down: parser('down', 'control.params', record()),
  reconsider: parser(
    'reconsider',
    'control.params',
    record({ forget: { type: 'array', maxItems: 100, items: { type: 'string', minLength: 1, maxLength: 64 } } }),
  ),
  requests: parser('requests', 'control.params', record()),
  answer: parser(
    'answer',
    'control.params',
    record({ id: requestId, yes: { type: 'boolean' }, remember: { type: 'boolean' } }),
  ),
  explain: parser('explain', 'control.params', record({ id: requestId })),
  policy: parser('policy', 'control.params', record()),
  policyChanged: parser('policyChanged', 'control.params', record()),
  hold: parser(
    'hold',
    'control.params',
    record(
      { action: { type: 'string', enum: ['show', 'pause', 'resume', 'cpu'] } },
      { guest, percent: { type: 'integer', minimum: 5, maximum: 100 } },
    ),
  ),
};
