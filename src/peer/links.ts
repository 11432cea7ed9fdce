/** What `kith shape`, `link` and `capture` reach: links of the job that runs here, frames of any of its guests, and those that this host carries. */
import { KithError } from '../base/errors.ts';
import type { CaptureHandle, CaptureTarget, PeerApi } from '../control/api.ts';
import type { Hosting } from '../job/hosting.ts';
import type { JobRun } from '../job/initiator.ts';
import type { RequestOf } from '../protocol/messages.ts';
import type { Peer } from './peer.ts';

/** One page through the local socket. */
const PAGE_BYTES = 262_144;

type LinkApi = Pick<PeerApi, 'link' | 'captureOpen' | 'captureRead' | 'captureClose'>;

export function linkApi(peer: Peer): LinkApi {
  const { worker, ask } = peer;
  /** What this host carries is looked at here: it need not go through the chat server. */
  const here = (lease: string) => worker.hostings.some((hosting) => worker.leaseOf(hosting) === lease);

  /** The peer that runs a capture of a guest of our job. */
  const holderOf = ({ guest, lease }: CaptureHandle): string => {
    const place = peer.job?.where(guest);
    if (place?.lease === lease) return place.peer;
    throw new KithError({
      code: 'capture.ended',
      message: `the peer of ${guest} is another one now`,
      hint: 'start another capture',
      retry: 'never',
    });
  };

  return {
    async link({ guests: [a, b], there, back, wires }) {
      const link = jobOf(peer).link(a, b);
      if (there !== undefined || back !== undefined) {
        await link.shape({ ...(there === undefined ? {} : { there }), ...(back === undefined ? {} : { back }) });
      }
      if (wires !== undefined) await (wires === null ? link.restore() : link.wires(wires));
      return { ends: link.status() };
    },
    async captureOpen({ target, snapLength }) {
      const local = localOf(peer, target);
      if (local) {
        const lease = worker.leaseOf(local.hosting) ?? '';
        const capture = worker.captures.open(lease, local.hosting.fabric.tapOf(local.node), snapLength);
        return { guest: local.hosting.guest.name, lease, capture };
      }
      const { guest, node } = remoteOf(jobOf(peer), target);
      const { lease, peer: at } = jobOf(peer).where(guest);
      const open: RequestOf<'capture.open'> = { kind: 'capture.open', lease, snapLength };
      const { capture } = await ask(at, node === undefined ? open : { ...open, link: node });
      return { guest, lease, capture };
    },
    async captureRead(handle) {
      const { lease, capture } = handle;
      if (!here(lease)) return ask(holderOf(handle), { kind: 'capture.read', lease, capture });
      const { blocks, received, dropped } = await worker.captures.read(lease, capture, PAGE_BYTES);
      return { data: Buffer.from(blocks).toString('base64'), received, dropped };
    },
    async captureClose(handle) {
      const { lease, capture } = handle;
      if (!here(lease)) return ask(holderOf(handle), { kind: 'capture.close', lease, capture });
      worker.captures.close(lease, capture);
      return {};
    },
  };
}

function jobOf({ job }: Peer): JobRun {
  if (job) return job;
  throw new KithError({
    code: 'job.no-job',
    message: 'no job runs on this peer',
    hint: 'links are set at the peer of kith run; other peers capture what they carry themselves',
    retry: 'after-change',
  });
}

/** A guest on this host, and for one of its links the node at the other end. */
function localOf(peer: Peer, target: CaptureTarget): { hosting: Hosting; node: number | undefined } | undefined {
  const hosted = (name: string) => peer.worker.hostings.find(({ guest }) => guest.name === name);
  if ('guest' in target) {
    const hosting = hosted(target.guest);
    return hosting && { hosting, node: undefined };
  }
  const [a, b] = target.link;
  peer.job?.link(a, b); // throws, and says which links there are
  for (const [name, other] of [[a, b] as const, [b, a] as const]) {
    const hosting = hosted(name);
    const node = hosting?.plan.guests.find((guest) => guest.name === other)?.node;
    if (hosting && node !== undefined) return { hosting, node };
  }
  return undefined;
}

function remoteOf(job: JobRun, target: CaptureTarget): { guest: string; node: number | undefined } {
  if ('guest' in target) return { guest: target.guest, node: undefined };
  const [guest, other] = target.link;
  return { guest, node: job.where(other).node };
}
