/** What a check of the doctor is, what it finds, and what it works with. */
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Paths } from '../base/paths.ts';
import type { ConfinementFinding, ConfinementOptions } from '../guest/confinement.ts';
import type { HostFacts } from '../guest/probe.ts';
import type { StoredImage } from '../image/store.ts';
import type { Session } from '../xmpp/session.ts';

export type Finding = { readonly part?: string } & (
  | { readonly state: 'fine'; readonly found: string }
  | {
      readonly state: 'weak' | 'broken' | 'skipped';
      /** What is the case, or why nobody looked. */
      readonly found: string;
      /** What the owner misses because of it. */
      readonly cost: string;
      /** The next step, as an imperative. */
      readonly todo: string;
    }
);

export const fine = (found: string): Finding => ({ state: 'fine', found });
export const weak = (found: string, cost: string, todo: string): Finding => ({ state: 'weak', found, cost, todo });
export const broken = (found: string, cost: string, todo: string): Finding => ({ state: 'broken', found, cost, todo });
export const skipped = (found: string, cost: string, todo: string): Finding => ({
  state: 'skipped',
  found,
  cost,
  todo,
});

export interface Check {
  readonly name: string;
  /** Checks that must not be broken or skipped before this one makes sense. */
  readonly after?: readonly string[];
  readonly deadlineMs: number;
  /** What it costs when the check fails, hangs or throws. */
  readonly cost: string;
  /** Must not change anything on this machine or on a server. A thrown error is as good as a broken finding. */
  run(context: CheckContext, signal: AbortSignal): Promise<Finding | readonly Finding[]>;
}

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  readonly domain: string;
  readonly fingerprint?: string | undefined;
  readonly bytesPerSecond: number;
}

/** What peers of this profile would use. */
export interface Subject {
  readonly server: ServerAddress | undefined;
  readonly account: { readonly username: string; readonly password: string } | undefined;
  readonly room: string | undefined;
  /** Peers of this profile make the room if it is not there. */
  readonly createRoom: boolean;
  readonly iceServers: readonly string[];
  readonly wireAddress: string | undefined;
}

/** The machine as the checks see it, so that tests can lend them another. */
export interface Machine {
  /** Milliseconds since 1970, by the clock that peers sign with. */
  now(): number;
  freeMemoryMiB(): number;
  /** Free space for us on the file system that will hold this folder. */
  freeDiskMiB(folder: string): Promise<number>;
  /** What can hold a guest here, each part tried. */
  confinement(options: ConfinementOptions): Promise<readonly ConfinementFinding[]>;
}

export interface CheckContext extends Subject {
  readonly machine: Machine;
  readonly paths: Paths;
  readonly env: NodeJS.ProcessEnv;
  readonly log: Log;
  readonly clock: Clock;
  /** Some stored image, to have a kernel to boot. */
  image(): Promise<StoredImage | undefined>;
  /** What QEMU says about itself, asked once. */
  host(): Promise<HostFacts>;
  /** One login for all checks; it ends with the examination. */
  session(signal: AbortSignal): Promise<Session>;
}
