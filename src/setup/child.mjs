/** Child processes before execa is there: a step of set-up, and the program itself with its signals. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { findProgram } from './programs.mjs';

/** What a person or a supervisor sends to make us stop. */
const STOP_SIGNALS = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']);
/** npm passes a Ctrl-C on to us that the terminal has already sent; nobody presses it twice as fast as this. */
const SAME_SIGNAL_MS = 250;

/**
 * Runs a step to its end. It shares our process group, so a Ctrl-C reaches it, and prints on stderr only: stdout belongs to
 * the program that comes after. A signal sent to us alone is passed on; we end as soon as the step has.
 * @param {string} file
 * @param {readonly string[]} args
 * @param {{ cwd: string, env: NodeJS.ProcessEnv, quiet?: boolean }} options
 * @returns {Promise<boolean>} false if it failed or could not be started
 */
export async function succeeds(file, args, { cwd, env, quiet = false }) {
  const child = spawn(file, args, { cwd, env, stdio: quiet ? 'ignore' : ['ignore', 2, 2] });
  let stopped = 0;
  const stop = listen((signal) => {
    stopped ||= constants.signals[signal];
    child.kill(signal);
  });
  const code = await ended(child);
  stop();
  if (stopped) process.exit(128 + stopped);
  return code === 0;
}

/**
 * Runs the program with our stdio until it ends and returns its exit code, 128 + n for signal n.
 *
 * It gets a session of its own, so that each signal reaches it exactly once: a Ctrl-C goes to us as the terminal's
 * foreground group and a `kill` to us alone, and either way we are the only one to pass it on. If we are killed, the kernel
 * tells it (PR_SET_PDEATHSIG by setpriv(1)).
 * @param {string} file
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<number>}
 */
export async function runProgram(file, args, env) {
  const setpriv = findProgram('setpriv', env);
  const [program, argv] = setpriv ? [setpriv, ['--pdeathsig', 'TERM', '--', file, ...args]] : [file, args];
  const child = spawn(program, argv, { stdio: 'inherit', env, detached: true });
  const last = new Map();
  const stop = listen((signal) => {
    const now = Date.now();
    if (now - (last.get(signal) ?? 0) < SAME_SIGNAL_MS) return;
    last.set(signal, now);
    child.kill(signal);
  });
  // What the terminal tells its foreground group and nobody else.
  const resized = () => child.kill('SIGWINCH');
  const paused = () => {
    child.kill('SIGSTOP');
    process.kill(process.pid, 'SIGSTOP');
  };
  const resumed = () => child.kill('SIGCONT');
  process.on('SIGWINCH', resized).on('SIGTSTP', paused).on('SIGCONT', resumed);
  const code = await ended(child);
  stop();
  process.off('SIGWINCH', resized).off('SIGTSTP', paused).off('SIGCONT', resumed);
  return code;
}

/** @param {(signal: NodeJS.Signals) => void} handler */
function listen(handler) {
  for (const signal of STOP_SIGNALS) process.on(signal, handler);
  return () => {
    for (const signal of STOP_SIGNALS) process.off(signal, handler);
  };
}

/**
 * @param {import('node:child_process').ChildProcess} child
 * @returns {Promise<number>}
 */
function ended(child) {
  return new Promise((resolve) => {
    child.once('error', () => resolve(127)); // what sh says for a command that is not there
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
}
