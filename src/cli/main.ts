/** `kith <command> …`: finds the command, gives it its context, turns its end into an exit code. */
import { constants } from 'node:os';
import { parseArgs } from 'node:util';
import { describeError, errorCode, KithError } from '../base/errors.ts';
import { createLog, type Level } from '../base/log.ts';
import { kithPaths } from '../base/paths.ts';
import type { Command, CommandContext } from './command.ts';
import { commands } from './commands.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { VERSION } from '../version.ts';
import { commandHelp, generalHelp, nearest } from './help.ts';
import { flushed, printable } from './output.ts';

const stdout = (text: string) => void process.stdout.write(text);
const stderr = (text: string) => void process.stderr.write(text);

async function main(argv: readonly string[], interrupt: AbortController): Promise<number> {
  const [word, ...rest] = argv;
  if (word === '--version' || word === 'version') {
    stdout(`${VERSION}\n`);
    return EXIT.ok;
  }
  if (word === undefined || word === 'help' || word.startsWith('-')) {
    stdout(generalHelp(commands));
    return word === undefined || word === 'help' || word === '--help' || word === '-h' ? EXIT.ok : EXIT.usage;
  }
  const json = rest.slice(0, rest.includes('--') ? rest.indexOf('--') : rest.length).includes('--json');
  const stopListening = onSignals((signal) => interrupt.abort(interruption(signal)));
  try {
    const command = commands.find(({ name }) => name === word);
    if (!command) {
      const close = nearest(
        word,
        commands.map(({ name }) => name),
      );
      throw new KithError({
        code: 'cli.usage',
        message: `there is no command ${word}`,
        hint: close ? `did you mean kith ${close}?` : 'kith --help lists them',
      });
    }
    if (rest[0] === '--help' || rest[0] === '-h') {
      stdout(commandHelp(command));
      return EXIT.ok;
    }
    const context = contextOf(command, rest, interrupt.signal);
    if (context.values['help']) {
      stdout(commandHelp(command));
      return EXIT.ok;
    }
    const { run } = await command.load();
    return (await run(context)) ?? EXIT.ok;
  } catch (error) {
    // After Ctrl-C every error is only the echo of it.
    if (interrupt.signal.aborted) return interruptedCode(interrupt.signal.reason);
    report(error, json);
    return exitCodeOf(error);
  } finally {
    stopListening();
  }
}

function contextOf(command: Command, args: readonly string[], signal: AbortSignal): CommandContext {
  const { values, positionals } = parse(command, args);
  const level = (values['log-level'] ?? process.env['KITH_LOG'] ?? 'info') as Level;
  if (!['debug', 'info', 'warn', 'error'].includes(level))
    throw new KithError({
      code: 'cli.usage',
      message: `there is no log level ${level}`,
      hint: 'debug, info, warn or error',
    });
  return {
    values,
    positionals,
    json: values['json'] === true,
    stdout,
    stderr,
    signal,
    log: createLog({ level, format: process.stderr.isTTY ? 'text' : 'json', write: stderr }),
    paths: kithPaths(),
    env: process.env,
  };
}

function parse(command: Command, args: readonly string[]): { values: Record<string, unknown>; positionals: string[] } {
  try {
    return parseArgs({
      args: [...args],
      options: {
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
        'log-level': { type: 'string' },
        ...command.options,
      },
      allowPositionals: true,
      strict: true,
    });
  } catch (error) {
    const why = error instanceof Error ? error.message.split('. ')[0] : String(error);
    throw new KithError({
      code: 'cli.usage',
      message: String(why),
      hint: `kith ${command.name} --help shows what it takes`,
      cause: error,
    });
  }
}

function report(error: unknown, json: boolean): void {
  const internal = errorCode(error) === 'internal';
  if (json) {
    const { message, hint } = error instanceof KithError ? error : { message: describeError(error), hint: undefined };
    stdout(`${JSON.stringify({ ok: false, error: { code: errorCode(error), message, ...(hint ? { hint } : {}) } })}\n`);
  } else {
    stderr(`error: ${printable(describeError(error))}\n`);
  }
  if (internal && error instanceof Error && process.env['KITH_LOG'] === 'debug') {
    stderr(`${(error.stack ?? '').split('\n').map(printable).join('\n')}\n`);
  }
}

/** npm passes on a Ctrl-C that the terminal has sent us already; nobody presses it twice as fast as this. */
const SAME_PRESS_MS = 250;

/** The first signal asks, a second Ctrl-C or SIGTERM ends at once. */
function onSignals(stop: (signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') => void): () => void {
  let asked: number | undefined;
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const handlers = names.map((name) => {
    const handler = () => {
      const now = performance.now();
      if (asked !== undefined && now - asked < SAME_PRESS_MS) return;
      if (asked !== undefined && name !== 'SIGHUP') process.exit(128 + constants.signals[name]);
      asked = now;
      stop(name);
    };
    process.on(name, handler);
    return [name, handler] as const;
  });
  return () => handlers.forEach(([name, handler]) => process.off(name, handler));
}

const interruption = (signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') =>
  Object.assign(new DOMException(`stopped by ${signal}`, 'AbortError'), { exitCode: 128 + constants.signals[signal] });

const interruptedCode = (reason: unknown) =>
  typeof reason === 'object' && reason !== null && 'exitCode' in reason && typeof reason.exitCode === 'number'
    ? reason.exitCode
    : EXIT.interrupted;

const interrupt = new AbortController();
let outputLost: number | undefined;
// A reader that has gone (kith run | head) ends us like a signal: guests and leases are given back first.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (outputLost !== undefined) return;
  outputLost = error.code === 'EPIPE' ? EXIT.pipe : EXIT.output;
  if (outputLost === EXIT.output) stderr(`error: cannot write to stdout: ${error.message}\n`);
  interrupt.abort(new DOMException('stdout is closed', 'AbortError'));
});
// A terminal that was closed takes no more messages: nothing to be done, and no reason to leave guests behind.
process.stderr.on('error', () => {});

const code = await main(process.argv.slice(2), interrupt);
await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
// A job script may have left a timer or a socket; all that is ours has been given back.
process.exit(outputLost ?? code);
