/** A stand-in for the program that set-up runs: tells what reaches it, and ends as its argument says. */
const say = (facts: object) => process.stdout.write(`${JSON.stringify(facts)}\n`);

const [mode, ...args] = process.argv.slice(2);
if (mode === 'exit') process.exitCode = Number(args[0]);
else if (mode === 'die') process.kill(process.pid, 'SIGKILL');
else {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => say({ signal }));
  process.stdin.once('data', () => process.exit(0));
  say({ pid: process.pid, version: process.version, args, cwd: process.cwd() });
}
