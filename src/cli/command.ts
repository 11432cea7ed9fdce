/** What a command is, and what it gets to work with. */
import type { parseArgs } from 'node:util';
import type { Log } from '../base/log.ts';
import type { Paths } from '../base/paths.ts';

export type OptionTable = NonNullable<NonNullable<Parameters<typeof parseArgs>[0]>['options']>;

export interface CommandContext {
  /** Options by their long name. */
  readonly values: Readonly<Record<string, unknown>>;
  readonly positionals: readonly string[];
  /** One line of JSON on stdout instead of text. */
  readonly json: boolean;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** Aborts on SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly paths: Paths;
  readonly env: NodeJS.ProcessEnv;
}

export interface Command {
  readonly name: string;
  /** One line for `kith --help`. */
  readonly purpose: string;
  /** What follows the name: `<guest> -- <command>`. */
  readonly usage: string;
  /** A command line that works as it is. */
  readonly example: string;
  readonly options: OptionTable;
  /** What each option means, in the order of the help. */
  readonly optionHelp: Readonly<Record<string, string>>;
  readonly load: () => Promise<{ readonly run: (context: CommandContext) => Promise<number | void> }>;
}
