/** `kith join <link>`: makes this home a member of a friend's room, by nothing but the link. */
import { readFile, stat } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import { KithError } from '../base/errors.ts';
import { joinByInvitation, type Joined } from '../home/join.ts';
import type { CommandContext } from './command.ts';
import { loadConfig } from './config.ts';
import { atMostWords } from './connect.ts';
import { printable } from './output.ts';
import { table } from './table.ts';
import { textOption } from './options.ts';

export async function run(context: CommandContext): Promise<void> {
  atMostWords(context, 1);
  const line = await lineOf(context);
  const nick = textOption(context, 'nick') ?? (await loadConfig(context)).nick ?? 'friend';
  const { paths, log, signal } = context;
  const joined = await joinByInvitation(line, { nick, paths, log, signal });
  context.stdout(context.json ? `${JSON.stringify({ ok: true, ...joined })}\n` : words(joined));
}

async function lineOf(context: CommandContext): Promise<string> {
  const [word] = context.positionals;
  const file = textOption(context, 'file');
  if ((word === undefined) === (file === undefined)) {
    throw new KithError({
      code: 'cli.usage',
      message: word === undefined ? 'no invitation given' : 'two invitations given',
      hint: 'kith join --file FILE, or kith join - and paste the link',
    });
  }
  if (file !== undefined) return readLink(file, context);
  if (word !== '-') {
    context.stderr(
      'warning: others on this machine can see a link on the command line; kith join - reads it instead\n',
    );
    return word ?? '';
  }
  if (process.stdin.isTTY) context.stderr('paste the link, then Enter and Ctrl-D\n');
  return readAll(process.stdin);
}

/** A link that came by mail lies in a file of the usual mode: worth a word, but it is used up in a moment. */
async function readLink(path: string, { stderr }: CommandContext): Promise<string> {
  try {
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) stderr(`warning: others on this machine can read ${path}\n`);
    return (await readFile(path, 'utf8')).trim();
  } catch (cause) {
    throw new KithError({
      code: 'cli.secret',
      message: `cannot read the invitation in ${path}`,
      hint: 'check the path',
      cause,
    });
  }
}

function words({ room, account, device, inviter, members }: Joined): string {
  const rows = members.map((each) => [
    printable(each.nick),
    each.role,
    each.trust,
    printable(each.because),
    each.device,
  ]);
  return [
    `You are a member of ${room} as ${account}, invited by ${printable(inviter.nick)} (${inviter.device}).`,
    `Your device is ${device}.`,
    '',
    rows.length > 0 ? table(['in the room', 'role', 'trust', 'because', 'device'], rows) : 'nobody is there now',
    '',
    'Next: kith peer asks you before a guest runs here, kith worker does not, kith run jobs/mesh.ts starts a job.',
    '',
  ].join('\n');
}
