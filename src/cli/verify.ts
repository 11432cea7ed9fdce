/** `kith verify <peer>`: six words that both sides read to each other; then that key is the friend's, whatever the server says. */
import { createInterface } from 'node:readline/promises';
import { KithError } from '../base/errors.ts';
import { findPeers, type FoundPeer } from '../control/choose.ts';
import { connectControl } from '../control/client.ts';
import { socketOf } from '../control/directory.ts';
import { pinVerified, verificationOf, type Verification } from '../home/identity.ts';
import type { CommandContext } from './command.ts';
import { atMostWords } from './connect.ts';
import { textOption } from './options.ts';
import { printable } from './output.ts';

interface Subject {
  readonly key: string;
  readonly account: string;
  readonly nick: string;
  readonly fingerprint: string;
  readonly refused: boolean;
}

export async function run(context: CommandContext): Promise<number> {
  atMostWords(context, 1);
  const peers = await findPeers(context.paths.runtime, { signal: context.signal });
  const subject = pick(peers, context.positionals[0]);
  const verification = await verificationOf(context.paths, subject);
  if (!(await agreed(context, subject, verification))) {
    context.stderr('nothing was changed; if the words differ, somebody sits between you: do not trust this peer\n');
    return 1;
  }
  await pinVerified(context.paths, subject, verification);
  const told = await tell(context, peers, verification);
  const { words, fingerprint, replaces } = verification;
  const { nick, account } = subject;
  if (context.json) {
    const replaced = replaces.map((contact) => contact.fingerprint);
    context.stdout(`${JSON.stringify({ ok: true, nick, account, fingerprint, words, replaced, told })}\n`);
  } else context.stdout(`${printable(nick)} (${fingerprint}) is verified\n`);
  return 0;
}

function pick(peers: readonly FoundPeer[], who: string | undefined): Subject {
  if (!who) throw usage('nobody given', 'a nick, account or fingerprint: kith verify ben; kith ps shows them');
  const found = new Map<string, Subject>();
  for (const { nick, jid, key, device, trust } of peers.flatMap(({ status }) => status.occupants)) {
    const [account = ''] = jid.split('/');
    if (key === undefined || device === undefined || trust === 'self') continue;
    if (![nick, account, account.split('@')[0], device].includes(who)) continue;
    found.set(key, { key, account, nick, fingerprint: device, refused: trust === 'refused' });
  }
  const [only, ...others] = found.values();
  if (only && others.length === 0) return only;
  if (only) {
    const each = [only, ...others].map(({ account, fingerprint }) => `${account} (${fingerprint})`);
    throw usage(`several are known as ${who}: ${each.join(', ')}`, 'say which one by its fingerprint');
  }
  throw new KithError({
    code: 'trust.nobody',
    message: peers.length === 0 ? 'no peer of yours runs, so nobody is seen' : `nobody in the room is known as ${who}`,
    hint: 'both of you must be in the room: start kith peer, then look at kith ps',
  });
}

async function agreed(context: CommandContext, { nick, account }: Subject, seen: Verification): Promise<boolean> {
  const given = textOption(context, 'words');
  if (given !== undefined) {
    if (given.trim().toLowerCase().split(/\s+/).join(' ') === seen.words.join(' ')) return true;
    throw new KithError({
      code: 'trust.words-differ',
      message: `these are not the words for ${printable(nick)}: you and your friend do not see the same keys`,
      hint: 'read them anew; if they still differ, somebody sits between you',
      retry: 'never',
    });
  }
  if (context.values['yes']) throw usage('--yes needs the words', `--yes --words "${seen.words.join(' ')}"`);
  context.stderr(
    `${printable(nick)} (${printable(account)})\ndevice ${seen.fingerprint}\n\n  ${seen.words.join(' ')}\n\n`,
  );
  for (const old of seen.replaces) {
    context.stderr(`This is a new key. The one that you know (${old.fingerprint}, ${old.pin}) will be forgotten.\n`);
  }
  if (!process.stdin.isTTY) {
    throw usage('there is no terminal to answer on', 'ask your friend for the words, then add --words "…"');
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const question = 'Call your friend, who runs kith verify, too. Do you both see the same words? [y/N] ';
    return /^y(es)?$/i.test((await lines.question(question, { signal: context.signal })).trim());
  } finally {
    lines.close();
  }
}

/** Running peers of ours look at everybody anew. One that has just gone reads the file when it starts. */
async function tell(context: CommandContext, peers: readonly FoundPeer[], seen: Verification): Promise<string[]> {
  const forget = seen.replaces.map(({ device }) => device);
  const told = await Promise.allSettled(
    peers.map(async ({ name }) => {
      await using api = await connectControl(socketOf(context.paths.runtime, name), { signal: context.signal });
      await api.reconsider({ forget });
      return name;
    }),
  );
  return told.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
}

const usage = (message: string, hint: string) => new KithError({ code: 'cli.usage', message, hint });
