/** `kith exec <guest> -- <command…>`: the command's output is our output, byte for byte, and its exit code ours. */
import { KithError } from '../base/errors.ts';
import type { CommandContext } from './command.ts';
import { connectPeer, guestOf } from './connect.ts';
import { numberOption } from './options.ts';
import { writeBytes } from './output.ts';

const DEFAULT_SECONDS = 60;
const MAX_SECONDS = 86_400; // what the API takes

export async function run(context: CommandContext): Promise<number> {
  const guest = guestOf(context, 'kith exec worker-1 -- ip addr');
  const command = context.positionals.slice(1);
  if (command.length === 0) {
    throw new KithError({ code: 'cli.usage', message: 'no command given', hint: `kith exec ${guest} -- ip addr` });
  }
  const timeoutSeconds = numberOption(context, 'timeout', { min: 1, max: MAX_SECONDS }) ?? DEFAULT_SECONDS;
  await using peer = await connectPeer(context, { guest });
  const { exitCode, signal, ...output } = await peer.exec({ guest, command, timeoutSeconds });
  const [stdout, stderr] = [Buffer.from(output.stdout, 'base64'), Buffer.from(output.stderr, 'base64')];
  if (context.json) {
    const facts = {
      exitCode,
      ...(signal === undefined ? {} : { signal }),
      stdout: stdout.toString(),
      stderr: stderr.toString(),
    };
    context.stdout(`${JSON.stringify(facts)}\n`);
  } else {
    await writeBytes(process.stdout, stdout);
    await writeBytes(process.stderr, stderr);
  }
  return signal === undefined ? exitCode : 128 + signal; // as shells say it
}
