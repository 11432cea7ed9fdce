/** A guest's console log as a stream: asks again from where the last piece ended. */
import { setTimeout } from 'node:timers/promises';
import type { LogPage, PeerApi } from './api.ts';

/** Quick while the guest prints, so that typing feels immediate; seldom when it is quiet, since each look is a message in the room. */
const PAUSE_MS = 200;
const MAX_PAUSE_MS = 1000;
const GROWTH = 1.5;

export interface LogPiece {
  readonly offset: number;
  readonly data: Buffer;
}

export interface FollowOptions {
  /** Of the first byte wanted. Default 0: all that is still there. */
  readonly offset?: number;
  /** Goes on until the signal aborts instead of ending at the last byte. */
  readonly follow?: boolean;
  readonly signal: AbortSignal;
}

/** Ends quietly when the signal aborts. A guest that was started anew begins again at its first byte. */
export async function* followLog(
  api: Pick<PeerApi, 'log'>,
  guest: string,
  options: FollowOptions,
): AsyncGenerator<LogPiece> {
  const { follow = false, signal } = options;
  let offset = options.offset ?? 0;
  let pause = PAUSE_MS;
  while (!signal.aborted) {
    const page = await quietly(api.log({ guest, offset }), signal);
    if (!page) return;
    if (page.total < offset) {
      offset = 0;
      continue;
    }
    const data = Buffer.from(page.data, 'base64');
    if (data.length > 0) {
      yield { offset: page.offset, data };
      offset = page.offset + data.length;
      pause = PAUSE_MS;
      if (offset < page.total) continue;
    }
    if (!follow) return;
    await quietly(setTimeout(pause, undefined, { signal }), signal);
    pause = Math.min(MAX_PAUSE_MS, pause * GROWTH);
  }
}

/** Where the last `bytes` of the log begin. */
export async function tailOffset(api: Pick<PeerApi, 'log'>, guest: string, bytes: number): Promise<number> {
  const { total }: LogPage = await api.log({ guest, offset: Number.MAX_SAFE_INTEGER });
  return Math.max(0, total - bytes);
}

/** Undefined once the signal has aborted. */
async function quietly<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}
