/** Which attempt does a signal belong to? Offers, answers and candidates of many links, through one mailbox, attempts kept apart. */
import { describeError } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import { isDirect, parseDirectSignal } from './direct-signal.ts';
import { isOffer, parseSignal } from './signal.ts';

/** The two-way path over which one attempt to connect exchanges its signals. Who connects over it disposes it at the end of the wire. */
export interface SignalPipe extends Partial<Disposable> {
  send(data: unknown): Promise<void>;
  /** Signals of the other end, in order, those that came early included. They are hostile until checked. */
  onData(handler: (data: unknown) => void): () => void;
  /** Calls back once when the other end began a newer attempt: whatever this one made is dead there. */
  onSuperseded?(handler: () => void): () => void;
}

/** What travels in a `signal` message. */
export interface Signal {
  readonly channel: string;
  /** Chosen by the offering end, fresh for each attempt. */
  readonly session: string;
  readonly data: unknown;
}

export interface SignalRouter {
  /** A signal has arrived. Never throws; what fits nowhere is dropped. `from` must be authentic. */
  dispatch(from: string, channel: string, session: string, data: unknown): void;
  /** Opens our side of an attempt. One pipe per peer and channel: opening another ends the first. */
  pipe(options: { readonly peer: string; readonly channel: string; readonly offer: boolean }): SignalPipe & Disposable;
}

/** An offer and its candidates come to about three signals; what is more is no honest peer. */
const MAX_EARLY_SIGNALS = 8;
/** Channels with early signals per peer: at most 16 x (16 KiB offer + 8 x 16 candidates) are kept for a stranger. */
const MAX_CHANNELS = 16;
/** Peers that are remembered, beyond those with an open pipe. A LAN has at most 200 guests. */
const MAX_PEERS = 256;
const MAX_SESSION_LENGTH = 64;
const MAX_CHANNEL_LENGTH = 160;

interface Pipe {
  readonly offer: boolean;
  session: string | undefined;
  accept(data: unknown): void;
  supersede(): void;
}

/** Both ends of one link, seen from here. */
interface Path {
  pipe: Pipe | undefined;
  /** Signals that came before an answering pipe was opened for their session. */
  early: Signal[];
  /** The session that was answered last: its late signals wake nobody up. */
  retired: string | undefined;
}

export function createSignalRouter(options: {
  readonly send: (to: string, signal: Signal) => Promise<void>;
  readonly log: Log;
}): SignalRouter {
  const { send, log } = options;
  const peers = new Map<string, Map<string, Path>>();

  function pathTo(peer: string, channel: string): Path {
    const paths = peers.get(peer) ?? new Map<string, Path>();
    const path = paths.get(channel) ?? { pipe: undefined, early: [], retired: undefined };
    // Set again: the last to speak are the last to be forgotten.
    peers.delete(peer);
    peers.set(peer, paths.set(channel, path));
    evict(paths, MAX_CHANNELS, (other) => other.pipe === undefined && other !== path);
    evict(peers, MAX_PEERS, (other) => other !== paths && [...other.values()].every(({ pipe }) => pipe === undefined));
    return path;
  }

  function keep(path: Path, signal: Signal): void {
    // A new offer makes everything older worthless, and one offer is all that a session needs.
    if (isOffer(signal.data))
      path.early = path.early.filter((old) => old.session === signal.session && !isOffer(old.data));
    else if (path.early.length >= MAX_EARLY_SIGNALS) return;
    path.early.push(signal);
  }

  function adopt(path: Path, pipe: Pipe): void {
    const session = path.early.findLast(({ data }) => isOffer(data))?.session;
    if (session === undefined) return;
    pipe.session = session;
    path.retired = session;
    const mine = path.early.filter((signal) => signal.session === session);
    path.early = [];
    for (const { data } of mine) pipe.accept(data);
  }

  return {
    dispatch(from, channel, session, data) {
      if (session.length > MAX_SESSION_LENGTH || channel.length > MAX_CHANNEL_LENGTH) return;
      try {
        if (isDirect(data)) parseDirectSignal(data);
        else parseSignal(data);
      } catch (error) {
        return log.debug('signal refused', { peer: from, channel, reason: describeError(error) });
      }
      const path = pathTo(from, channel);
      const { pipe } = path;
      if (pipe?.session === session) return pipe.accept(data);
      if (pipe?.offer || session === path.retired) {
        return log.debug('late signal dropped', { peer: from, channel });
      }
      keep(path, { channel, session, data });
      if (!pipe || !isOffer(data)) return;
      if (pipe.session === undefined) adopt(path, pipe);
      else pipe.supersede();
    },

    pipe({ peer, channel, offer }) {
      const path = pathTo(peer, channel);
      path.pipe?.supersede();
      const { pipe, face } = createPipe(
        offer,
        (session, data) => send(peer, { channel, session, data }),
        () => {
          if (path.pipe === pipe) path.pipe = undefined;
        },
      );
      path.pipe = pipe;
      if (offer) path.early = [];
      else adopt(path, pipe);
      return face;
    },
  };
}

function createPipe(
  offer: boolean,
  send: (session: string, data: unknown) => Promise<void>,
  release: () => void,
): { readonly pipe: Pipe; readonly face: SignalPipe & Disposable } {
  let handler: ((data: unknown) => void) | undefined;
  let backlog: unknown[] = [];
  let superseded = false;
  const watchers = new Set<() => void>();
  const pipe: Pipe = {
    offer,
    session: offer ? newId() : undefined,
    accept(data) {
      if (handler) handler(data);
      else if (backlog.length < MAX_EARLY_SIGNALS) backlog.push(data);
    },
    supersede() {
      if (superseded) return;
      superseded = true;
      for (const watcher of watchers) watcher();
    },
  };
  const face: SignalPipe & Disposable = {
    async send(data) {
      if (pipe.session !== undefined) await send(pipe.session, data);
    },
    onData(next) {
      handler = next;
      const early = backlog;
      backlog = [];
      for (const data of early) next(data);
      return () => {
        if (handler === next) handler = undefined;
      };
    },
    onSuperseded(watcher) {
      if (superseded) queueMicrotask(watcher);
      else watchers.add(watcher);
      return () => void watchers.delete(watcher);
    },
    [Symbol.dispose]: release,
  };
  return { pipe, face };
}

function evict<V>(map: Map<string, V>, max: number, mayGo: (value: V) => boolean): void {
  for (const [key, value] of map) {
    if (map.size <= max) return;
    if (mayGo(value)) map.delete(key);
  }
}
