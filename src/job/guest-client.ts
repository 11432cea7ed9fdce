/** A guest as its initiator uses it, wherever it runs: each call is a request to the peer that holds the lease. */
import type { Page, Replies, RequestKind, RequestOf } from '../protocol/messages.ts';
import { KithError } from '../base/errors.ts';

/** Sends one request to a peer and waits for its reply: the mailbox, seen from here. */
export type Ask = <K extends RequestKind>(
  to: string,
  request: RequestOf<K>,
  options?: { readonly timeoutMs?: number; readonly signal?: AbortSignal | undefined },
) => Promise<Replies[K]>;

/** Time for the round trips and the queue of a slow server on top of a command's own time. */
const GRACE_MS = 30_000;

/** What one command may print before the rest is cut off, so that a guest cannot fill our memory. */
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

export interface RemoteOutcome {
  readonly exitCode: number;
  readonly signal?: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

export async function execRemote(
  ask: Ask,
  to: { readonly peer: string; readonly lease: string },
  command: readonly string[],
  options: { readonly timeoutSeconds: number; readonly signal?: AbortSignal | undefined },
): Promise<RemoteOutcome> {
  const { peer, lease } = to;
  const { timeoutSeconds, signal } = options;
  const timeoutMs = timeoutSeconds * 1000 + GRACE_MS;
  const reply = await ask(peer, { kind: 'guest.exec', lease, command, timeoutSeconds }, { timeoutMs, signal });
  const whole = (stream: 'stdout' | 'stderr') =>
    collect(reply[stream], (offset) =>
      ask(peer, { kind: 'guest.output', lease, exec: reply.exec, stream, offset }, { timeoutMs: GRACE_MS, signal }),
    );
  return {
    exitCode: reply.exitCode,
    ...(reply.signal === undefined ? {} : { signal: reply.signal }),
    stdout: await whole('stdout'),
    stderr: await whole('stderr'),
  };
}

/** Pages until the total is reached; a peer that sends empty or misplaced pages is refused rather than asked for ever. */
async function collect(first: Page, next: (offset: number) => Promise<Page>): Promise<Buffer> {
  const parts: Buffer[] = [];
  const total = Math.min(first.total, MAX_OUTPUT_BYTES);
  let size = 0;
  for (let page = first; ; page = await next(size)) {
    const data = Buffer.from(page.data, 'base64');
    if (page.offset !== size || (data.length === 0 && size < total)) {
      throw new KithError({ code: 'job.bad-page', message: 'the peer sent output in the wrong order', retry: 'never' });
    }
    parts.push(data);
    size += data.length;
    if (size >= total) return Buffer.concat(parts).subarray(0, total);
  }
}
