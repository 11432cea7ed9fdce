/** What a peer answers to whom, once the envelope has proven who asks. */
import { KithError } from '../base/errors.ts';
import type { ImageExchange } from '../job/images.ts';
import type { JobRun } from '../job/initiator.ts';
import type { Worker } from '../job/worker.ts';
import type { Replies, Request } from '../protocol/messages.ts';
import type { SignalRouter } from '../wire/signaling.ts';

/** Who may say what: leases by the policy, signals by plan mates alone, reports and images by the job's own workers alone. */
export function answer(
  from: string,
  request: Request,
  to: {
    readonly worker: Worker;
    readonly router: SignalRouter;
    readonly images: ImageExchange;
    readonly job: JobRun | undefined;
    readonly inRoom: boolean;
    /** An initiator hosts its own master guest and nothing else; others listen to whom they see in the room. */
    readonly mayAsk: boolean;
  },
): Promise<Replies[keyof Replies]> {
  const { worker, router, images, job, inRoom } = to;
  const isMember = job?.places.some((place) => place.peer === from) ?? false;
  if (!inRoom) return refuse(from);
  switch (request.kind) {
    case 'lease.request':
      return to.mayAsk ? (worker.handle(from, request) ?? refuse(from)) : refuse(from);
    case 'signal':
      if (!worker.knows(from) && !isMember && !(worker.expecting && inRoom)) return refuse(from);
      router.dispatch(from, request.channel, request.session, request.data);
      return Promise.resolve({});
    case 'guest.report':
      job?.onReport(from, request);
      return Promise.resolve({});
    case 'image.fetch':
      if (!job || !isMember || request.job !== job.id) return refuse(from);
      return images.give(from, request, new Set(job.plan?.guests.map(({ image }) => image.hash)));
    default:
      return worker.handle(from, request) ?? refuse(from);
  }
}

const refuse = (from: string) =>
  Promise.reject(
    new KithError({
      code: 'peer.not-allowed',
      message: `${from} has no part in anything that runs here`,
      retry: 'never',
    }),
  );
