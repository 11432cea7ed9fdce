/** `kith shape <guest> <guest>`: makes a link slow, late or lossy in the words of netem, or well again. */
import { KithError } from '../base/errors.ts';
import type { CommandContext } from './command.ts';
import { connectPeer } from './connect.ts';
import { printLink, twoGuests } from './link-words.ts';
import { textOption } from './options.ts';

/** Read by the peer, which knows the units. */
const WORDS = ['rate', 'delay', 'jitter', 'loss', 'duplicate', 'reorder', 'corrupt', 'limit'] as const;

export async function run(context: CommandContext): Promise<void> {
  const guests = twoGuests(context, 'kith shape worker-1 worker-2 --delay 20ms');
  const words = Object.fromEntries(
    WORDS.flatMap((word) => {
      const value = textOption(context, word);
      return value === undefined ? [] : [[word, value]];
    }),
  );
  const { clear, there, both } = context.values;
  const said = Object.keys(words).length > 0;
  if (there && both) throw usage('--there and --both contradict each other', 'one of them');
  if (clear && said) throw usage('--clear takes no shape', 'clear first, or say the whole new shape');
  if (!clear && !said && (there || both)) throw usage('no shape given', 'as in --delay 20ms --loss 1%, or --clear');
  const shape = clear ? null : said ? words : undefined;
  await using peer = await connectPeer(context);
  printLink(
    context,
    await peer.link({
      guests,
      ...(shape === undefined ? {} : there ? { there: shape } : { there: shape, back: shape }),
    }),
  );
}

const usage = (message: string, hint: string) => new KithError({ code: 'cli.usage', message, hint });
