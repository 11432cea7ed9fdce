/** What a peer is started with. */
import type { Log } from '../base/log.ts';
import type { Paths } from '../base/paths.ts';
import type { Prompt } from '../job/consent.ts';
import type { Accept, Limits } from '../job/policy.ts';
import type { Capacity } from '../protocol/capacity.ts';
import type { TrustOptions } from './trust.ts';

export interface PeerOptions {
  /** Profile: names the runtime directory and the nickname. */
  readonly name: string;
  readonly nick: string;
  readonly role: Exclude<Capacity['role'], 'host'>;
  readonly server: {
    readonly host: string;
    readonly port: number;
    readonly domain: string;
    readonly fingerprint?: string;
    readonly bytesPerSecond: number;
    /** Where that is a guess: as fast as its receipts allow, up to this. */
    readonly maxBytesPerSecond?: number;
  };
  readonly account: { readonly username: string; readonly password: string };
  readonly room: string;
  readonly trust: TrustOptions;
  /** May this peer create the room if it does not exist? */
  readonly createRoom: boolean;
  readonly accept: Accept | undefined;
  readonly limits: Partial<Limits>;
  /** Shows lease requests to a human in front of this process. */
  readonly prompt: Prompt | undefined;
  /** Address that data channels bind to; undefined: all of the machine. */
  readonly wireAddress: string | undefined;
  /** Port at which direct wires are listened for; undefined: any that is free. */
  readonly wirePort: number | undefined;
  /** Where else peers reach us, through a router that passes a port on: `203.0.113.5:4000`. */
  readonly announce: readonly string[];
  /** Ask the router to pass that port on (PCP, NAT-PMP). */
  readonly mapPort: boolean;
  /** Empty: those that the XMPP server names (XEP-0215), if it does. */
  readonly iceServers: readonly string[];
  readonly paths: Paths;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Asked over the local socket to stop. */
  readonly onDown: () => void;
}
