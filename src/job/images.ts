/** Images between peers of a job: fetched by hash from the initiator over a data channel, checked before use. */
import { describeError, errorCode, KithError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import type { Store, StoredImage } from '../image/store.ts';
import { exportImage, importImage } from '../image/transfer.ts';
import type { Replies, RequestOf } from '../protocol/messages.ts';
import type { ImageRef, Plan } from '../protocol/plan.ts';
import type { Blob } from '../wire/blob.ts';
import type { Ask } from './guest-client.ts';

/** No image is larger than this; a peer's disk is not for others to fill. */
const MAX_IMAGE_BYTES = 16 * 1024 ** 3;

/** Upload of one image to one peer; a 20 MB image on a 1 Mbit/s uplink takes three minutes. */
const GIVE_MS = 60 * 60_000;

export interface ImageExchange extends AsyncDisposable {
  /** The image from the cache, or fetched from the plan's initiator. */
  ensure(ref: ImageRef, plan: Plan, signal: AbortSignal): Promise<StoredImage>;
  /** Starts to send one of these images to a peer that asked for it on a channel of its choice. */
  give(to: string, request: RequestOf<'image.fetch'>, hashes: ReadonlySet<string>): Promise<Replies['image.fetch']>;
}

export interface ImageExchangeDeps {
  readonly store: Store;
  readonly ask: Ask;
  readonly openBlob: (options: {
    readonly peer: string;
    readonly channel: string;
    readonly offer: boolean;
    readonly signal: AbortSignal;
  }) => Promise<Blob>;
  readonly log: Log;
}

export function createImageExchange(deps: ImageExchangeDeps): ImageExchange {
  const { store, ask, log } = deps;
  const giving = new Set<string>();
  const stop = new AbortController();

  const fetchFrom = async (ref: ImageRef, plan: Plan, signal: AbortSignal): Promise<StoredImage> => {
    if (plan.wires.every((rung) => rung === 'stanza')) {
      throw new KithError({
        code: 'image.no-way',
        message: `image ${ref.name} (${Math.ceil(ref.bytes / 2 ** 20)} MiB) is not on this machine and the job allows no wire that could carry it`,
        hint: 'run the job once with data channels, or build the image on this machine first',
      });
    }
    const channel = `blob:${newId()}`;
    const peer = plan.job.initiator;
    log.info('image fetch started', { image: ref.name, bytes: ref.bytes });
    const given = new AbortController();
    const opening = deps.openBlob({ peer, channel, offer: false, signal: AbortSignal.any([signal, given.signal]) });
    opening.catch(() => {}); // reported below, after the request's own error
    try {
      await ask(peer, { kind: 'image.fetch', job: plan.job.id, hash: ref.hash, channel }, { signal });
    } catch (error) {
      given.abort(error);
      throw error;
    }
    await using blob = await opening;
    const image = await importImage(store, ref, blob.chunks, {
      maxBytes: Math.min(ref.bytes, MAX_IMAGE_BYTES),
      signal,
    });
    log.info('image fetched', { image: ref.name });
    return image;
  };

  return {
    async ensure(ref, plan, signal) {
      const here = await store.get(ref.hash).catch((error: unknown) => {
        // The store has removed it: the initiator has a good one.
        if (errorCode(error) !== 'image.corrupt') throw error;
        log.warn('stored image refused', { image: ref.name, reason: describeError(error) });
        return undefined;
      });
      if (here) return here;
      return fetchFrom(ref, plan, signal);
    },
    async give(to, { hash, channel }, hashes) {
      if (!channel.startsWith('blob:'))
        throw new KithError({ code: 'image.bad-channel', message: 'images travel on blob channels', retry: 'never' });
      // One upload per peer at a time: a peer cannot make us open connections without end.
      if (giving.has(to))
        throw new KithError({
          code: 'image.busy',
          message: 'an image is already on its way to this peer',
          retry: 'later',
        });
      if (!hashes.has(hash))
        throw new KithError({ code: 'image.unknown', message: `image ${hash} is not part of the job`, retry: 'never' });
      giving.add(to);
      const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(GIVE_MS)]);
      void (async () => {
        try {
          await using blob = await deps.openBlob({ peer: to, channel, offer: true, signal });
          for await (const chunk of exportImage(store, hash)) await blob.send(chunk);
          await blob.end();
          log.info('image sent', { peer: to });
        } catch (error) {
          log.warn('image not sent', { peer: to, reason: describeError(error) });
        } finally {
          giving.delete(to);
        }
      })();
      return {};
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
    },
  };
}
