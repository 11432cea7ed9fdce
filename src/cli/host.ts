/** `kith host`: a private chat server for as long as this command runs. */
import { chmod, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { KithError } from '../base/errors.ts';
import { isName, NAME_PATTERN } from '../base/ids.ts';
import { MAX_INVITATION_SECONDS, MAX_USES } from '../control/host-api.ts';
import { hostRoom, type Hosted } from '../host/host.ts';
import type { CommandContext } from './command.ts';
import { durationOption, numberOption, textOption } from './options.ts';
import { untilAborted } from './wait.ts';

export async function run(context: CommandContext): Promise<number> {
  const { log, paths } = context;
  const down = new AbortController();
  const signal = AbortSignal.any([context.signal, down.signal]);
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
  const keep = textOption(context, 'keep');
  if (keep !== undefined && !isName(keep)) {
    throw new KithError({
      code: 'cli.usage',
      message: `--keep ${keep} is no name`,
      hint: `lower-case letters, digits and hyphens: ${NAME_PATTERN}`,
    });
  }
  await using hosted = await hostRoom({
    name: textOption(context, 'name') ?? HOST_NAME,
    listen,
    address,
    port: numberOption(context, 'port', { min: 1, max: 65_535 }),
    room: textOption(context, 'room') ?? 'friends',
    bytesPerSecond: rate,
    nick: textOption(context, 'nick') ?? userInfo().username,
    seconds: durationOption(context, 'expires', MAX_INVITATION_SECONDS) ?? 86_400,
    uses: numberOption(context, 'uses', { min: 1, max: MAX_USES }) ?? 50,
    keep,
    paths,
    log,
    signal,
    onDown: () => down.abort(),
  });
  const { invitation, host, port, room, fingerprint, device } = hosted;
  const { id, link, expires, uses } = invitation;
  if (file) {
    await writeFile(file, `${link}\n`, { mode: 0o600 });
    await chmod(file, 0o600);
  }
  if (context.json)
    context.stdout(
      `${JSON.stringify({ ok: true, host, port, room, fingerprint, device, id, expires, uses, ...(file ? { invitationFile: file } : { invitation: link }) })}\n`,
    );
  else context.stdout(words(hosted, file));
  const ended = await Promise.race([untilAborted(signal), hosted.closed]);
  if (!signal.aborted) {
    throw new KithError({
      code: 'host.ended',
      message: `the chat server ended: ${String(ended)}`,
      // Without --keep, certificate, accounts and port go with the server: nobody who was here can come back by himself.
      hint: keep === undefined ? 'start kith host again and pass on the new invitation' : 'start kith host again',
    });
  }
  return 0;
}

/** By which `kith invite` and friends find it. */
const HOST_NAME = 'host';

/** The unspecified address, however it is written (RFC 4291 2.5.2; RFC 1122 3.2.1.3). */
const isEverywhere = (listen: string) => /^[0.]+$/.test(listen) || /^[0:]*:[0:.]*$/.test(listen);

function words({ invitation, room, host, port }: Hosted, file: string | undefined): string {
  const where = file ?? 'invitation';
  const { uses, expires } = invitation;
  const terms = `It lets ${uses === 1 ? 'one device' : `${uses} devices`} in until ${expires}; kith invite makes others.`;
  return [
    `Room ${room} is open on ${host}:${port} while this runs; Ctrl-C closes it.`,
    file
      ? `The invitation is in ${file}. Pass it on like a password. ${terms}`
      : `Invitation, to be passed on like a password. ${terms}`,
    ...(file ? [] : ['', invitation.link]),
    '',
    `  friends:  kith join --file ${where}, then kith peer, or, headless: kith worker`,
    `  you:      kith run jobs/mesh.ts --invitation ${where}`,
    '',
  ].join('\n');
}
