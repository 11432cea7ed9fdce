/** `kith capture <guest | link>`: frames as a file that Wireshark and tshark read, complete also after Ctrl-C. */
import { open, type FileHandle } from 'node:fs/promises';
import { describeError, KithError } from '../base/errors.ts';
import type { CaptureTarget } from '../control/api.ts';
import { followCapture, type CapturePiece } from '../control/follow-capture.ts';
import { MAX_SNAP_BYTES, MIN_SNAP_BYTES } from '../protocol/limits.ts';
import { VERSION } from '../version.ts';
import type { CommandContext } from './command.ts';
import { connectPeer } from './connect.ts';
import { numberOption, textOption } from './options.ts';
import { writeBytes } from './output.ts';

const EXAMPLE = 'kith capture worker-1 -w file.pcapng';

export async function run(context: CommandContext): Promise<void> {
  const { positionals, stderr, json } = context;
  const file = textOption(context, 'write');
  if (file === undefined) throw usage('no file given', `${EXAMPLE}; -w - writes to standard output`);
  if (file === '-' && json) throw usage('--json and -w - both want standard output', 'name a file');
  if (positionals.length === 0 || positionals.length > 2) throw usage('name one guest or one link', EXAMPLE);
  const count = numberOption(context, 'count', { min: 1 });
  const seconds = numberOption(context, 'seconds', { min: 1, max: 86_400 });
  const snapLength = numberOption(context, 'snaplen', { min: MIN_SNAP_BYTES, max: MAX_SNAP_BYTES }) ?? MAX_SNAP_BYTES;

  const signal = AbortSignal.any([
    context.signal,
    ...(seconds === undefined ? [] : [AbortSignal.timeout(seconds * 1000)]),
  ]);
  // Its own end, not that of Ctrl-C: the peer has to be told, and the file to be finished.
  await using peer = await connectPeer(context, { signal: new AbortController().signal });
  const { guests } = await peer.status();
  const target = targetOf(
    positionals,
    guests.map(({ name }) => name),
  );
  const pieces = followCapture(peer, {
    target,
    snapLength,
    application: `kith ${VERSION}`,
    signal,
    ...(count === undefined ? {} : { count }),
  });
  const first = await pieces.next(); // a guest that is not there leaves no file behind
  let last: CapturePiece | undefined;
  await using out = await openOutput(file, context.values['force'] === true).catch(async (error: unknown) => {
    await pieces.return(undefined);
    throw error;
  });
  if (!json) stderr(`capturing ${positionals.join(' - ')}; Ctrl-C ends it\n`);
  try {
    for (let next = first; !next.done; next = await pieces.next()) {
      await out.write(next.value.bytes);
      last = next.value;
      if (process.stderr.isTTY && !json) stderr(`\r${counted(last)}`);
    }
  } finally {
    await pieces.return(undefined);
    if (last && !json) stderr(`${process.stderr.isTTY ? '\r' : ''}${counted(last)}\n`);
  }
  if (json) {
    const { frames = 0, dropped = 0 } = last ?? {};
    context.stdout(`${JSON.stringify({ ok: true, file, frames, dropped })}\n`);
  }
}

const counted = ({ frames, dropped }: CapturePiece) =>
  `${frames} frames${dropped > 0 ? `, ${dropped} left out because reading was too slow` : ''}`;

/** `worker-1`; `a b`, `a,b`, `a - b` as kith ps has it, or `a-b` where that can be understood in one way only. */
export function targetOf(words: readonly string[], guests: readonly string[]): CaptureTarget {
  const [word = '', other] = words;
  if (other !== undefined) return { link: [word, other] };
  if (guests.includes(word)) return { guest: word };
  const [a, b, ...more] = word.split(/\s*,\s*|\s+-\s+/);
  if (a && b && more.length === 0) return { link: [a, b] };
  const pairs = guests.flatMap((one) =>
    guests.filter((two) => `${one}-${two}` === word).map((two) => [one, two] as const),
  );
  return pairs.length === 1 && pairs[0] ? { link: pairs[0] } : { guest: word };
}

interface Output extends AsyncDisposable {
  write(bytes: Uint8Array): Promise<void>;
}

async function openOutput(file: string, force: boolean): Promise<Output> {
  if (file === '-') return { write: (bytes) => writeBytes(process.stdout, bytes), async [Symbol.asyncDispose]() {} };
  let handle: FileHandle;
  try {
    // Whose frames they are need not be everybody's business.
    handle = await open(file, force ? 'w' : 'wx', 0o600);
  } catch (cause) {
    const exists = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    throw exists ? usage(`${file} is there already`, '--force writes over it') : notWritten(file, cause);
  }
  return {
    async write(bytes) {
      await handle.writeFile(bytes).catch((cause: unknown) => Promise.reject(notWritten(file, cause)));
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

const usage = (message: string, hint: string) => new KithError({ code: 'cli.usage', message, hint });

const notWritten = (file: string, cause: unknown) =>
  new KithError({
    code: 'capture.not-written',
    message: `cannot write ${file}: ${describeError(cause)}`,
    hint: 'look at the folder and the space that is left',
    cause,
  });
