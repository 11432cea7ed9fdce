/** `kith link <guest> <guest>`: how a link is, and which wires it may use; none cuts it. */
import { KithError } from '../base/errors.ts';
import type { PeerApi } from '../control/api.ts';
import type { CommandContext } from './command.ts';
import { connectPeer } from './connect.ts';
import { printLink, twoGuests } from './link-words.ts';
import { textOption } from './options.ts';

type Wires = NonNullable<Parameters<PeerApi['link']>[0]['wires']>;

const RUNGS: readonly string[] = ['direct', 'webrtc', 'stanza'] satisfies Wires[number][];

export async function run(context: CommandContext): Promise<void> {
  const guests = twoGuests(context, 'kith link worker-1 worker-2 --wires webrtc,stanza');
  const { cut, restore } = context.values;
  const text = textOption(context, 'wires');
  if ([cut, restore, text].filter(Boolean).length > 1) throw usage('more than one of --wires, --cut and --restore');
  const wires = text !== undefined ? wiresOf(text) : cut ? [] : restore ? null : undefined;
  await using peer = await connectPeer(context);
  printLink(context, await peer.link({ guests, ...(wires === undefined ? {} : { wires }) }));
}

function wiresOf(text: string): Wires {
  const words = text.split(',').map((word) => word.trim());
  const wrong = words.find((word, i) => !RUNGS.includes(word) || words.indexOf(word) !== i);
  if (wrong !== undefined) throw usage(`${wrong || 'nothing'} is no kind of wire, or stands there twice`);
  return words as Wires[number][];
}

const usage = (message: string) =>
  new KithError({
    code: 'cli.usage',
    message,
    hint: `--wires takes ${RUNGS.join(', ')}, best first; --cut takes all away`,
  });
