/** `kith host`: a private chat server for as long as this command runs. */
import { chmod, writeFile } from 'node:fs/promises';
import { KithError } from '../base/errors.ts';
import { hostRoom } from '../host.ts';
import type { CommandContext } from './command.ts';
import { numberOption, textOption } from './options.ts';
import { untilAborted } from './wait.ts';

export async function run(context: CommandContext): Promise<number> {
  const { signal, log, paths } = context;
  const rate =
    textOption(context, 'rate') === 'stock' ? 'stock' : (numberOption(context, 'rate', { min: 1000 }) ?? 1_000_000);
  const file = textOption(context, 'invitation-file');
  const listen = textOption(context, 'listen') ?? '127.0.0.1';
  const address = textOption(context, 'address');
  if (address === undefined && isEverywhere(listen)) {
    throw new KithError({
      code: 'cli.usage',
      message: `${listen} is all addresses of this machine, and an invitation has to name one`,
      hint: 'add --address with the one that friends reach',
    });
  }
  await using hosted = await hostRoom({
    listen,
    address,
    port: numberOption(context, 'port', { min: 1, max: 65_535 }),
    room: textOption(context, 'room') ?? 'friends',
    bytesPerSecond: rate,
    paths,
    log,
    signal,
  });
  const { invitation, host, port, room, fingerprint } = hosted;
  if (file) {
    await writeFile(file, `${invitation}\n`, { mode: 0o600 });
    await chmod(file, 0o600);
  }
  if (context.json)
    context.stdout(
      `${JSON.stringify({ ok: true, host, port, room, fingerprint, ...(file ? { invitationFile: file } : { invitation }) })}\n`,
    );
  else context.stdout(words(hosted, file));
  const ended = await Promise.race([untilAborted(signal), hosted.closed]);
  if (!signal.aborted) {
    throw new KithError({
      code: 'host.ended',
      message: `the chat server ended: ${String(ended)}`,
      // Certificate, accounts and port go with the server: nobody who was here can come back by himself.
      hint: 'start kith host again and pass on the new invitation',
    });
  }
  return 0;
}

/** The unspecified address, however it is written (RFC 4291 2.5.2; RFC 1122 3.2.1.3). */
const isEverywhere = (listen: string) => /^[0.]+$/.test(listen) || /^[0:]*:[0:.]*$/.test(listen);

function words(
  {
    invitation,
    room,
    host,
    port,
  }: { readonly invitation: string; readonly room: string; readonly host: string; readonly port: number },
  file: string | undefined,
): string {
  const where = file ?? 'invitation';
  return [
    `Room ${room} is open on ${host}:${port} while this runs; Ctrl-C closes it.`,
    file
      ? `The invitation is in ${file}. Pass it on like a password.`
      : 'Invitation, to be passed on like a password (friends put it into a file):',
    ...(file ? [] : ['', invitation]),
    '',
    `  friends:  kith peer --invitation ${where}      or, headless: kith worker --invitation ${where}`,
    `  you:      kith run jobs/mesh.ts --invitation ${where}`,
    '',
  ].join('\n');
}
