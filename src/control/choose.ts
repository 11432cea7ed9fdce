/** Which of the running peers a command means, when it says so and when it does not. */
import { readdir } from 'node:fs/promises';
import { KithError } from '../base/errors.ts';
import { isName } from '../base/ids.ts';
import type { PeerStatus } from './api.ts';
import { connectControl } from './client.ts';
import { isLive, socketOf } from './directory.ts';

/** A peer that is only listed must not hold up the command for long. */
const STATUS_MS = 5000;

export interface FoundPeer {
  readonly name: string;
  readonly status: PeerStatus;
}

export interface ChosenPeer {
  readonly name: string;
  readonly socket: string;
}

/** All peers of this user that run and answer, by name. What dead ones left behind is passed over. */
export async function findPeers(
  runtime: string,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<FoundPeer[]> {
  const found = await Promise.all(
    (await namesIn(runtime)).map(async (name): Promise<FoundPeer | undefined> => {
      try {
        await using api = await connectControl(socketOf(runtime, name), {
          answerMs: STATUS_MS,
          signal: options.signal,
        });
        return { name, status: await api.status() };
      } catch {
        options.signal?.throwIfAborted();
        return undefined;
      }
    }),
  );
  return found.filter((peer) => peer !== undefined).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The named one; else the only one; else the only initiator; else the only one that hosts the guest. */
export async function choosePeer(
  runtime: string,
  name: string | undefined,
  options: { readonly guest?: string | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<ChosenPeer> {
  if (name !== undefined) {
    if (isName(name) && (await isLive(socketOf(runtime, name)))) return { name, socket: socketOf(runtime, name) };
    const others = (await findPeers(runtime, options)).map((peer) => peer.name);
    const hint = others.length > 0 ? `these run: ${others.join(', ')}` : START;
    throw new KithError({ code: 'control.no-peer', message: `no peer named ${name} runs`, hint });
  }
  const chosen = pickPeer(await findPeers(runtime, options), options.guest);
  return { name: chosen, socket: socketOf(runtime, chosen) };
}

/** The host of a room, by name or the only one. */
export async function chooseHost(
  runtime: string,
  name: string | undefined,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<ChosenPeer> {
  const hosts = (await findPeers(runtime, options)).filter(({ status }) => status.peer.role === 'host');
  const fit = name === undefined ? hosts : hosts.filter((host) => host.name === name);
  const [only, another] = fit;
  if (only && !another) return { name: only.name, socket: socketOf(runtime, only.name) };
  if (another) {
    throw new KithError({
      code: 'control.which-host',
      message: `${fit.length} hosts run on this machine: ${fit.map((host) => host.name).join(', ')}`,
      hint: 'say which one with --peer NAME',
    });
  }
  throw new KithError({
    code: 'control.no-host',
    message: name === undefined ? 'no room is hosted on this machine' : `no host named ${name} runs`,
    hint: 'only whoever runs kith host can do this; start it, or ask that friend',
  });
}

/** The rule of choosePeer when no name is given: hosts are none. Pure. */
export function pickPeer(all: readonly FoundPeer[], guest?: string): string {
  const peers = all.filter(({ status }) => status.peer.role !== 'host');
  const initiators = peers.filter(({ status }) => status.peer.role === 'initiator');
  // A worker knows the whole plan, but only the guests that it hosts have a state there.
  const hosts = peers.filter(({ status }) =>
    status.guests.some(({ name, state }) => name === guest && state !== 'unknown'),
  );
  const [only] = [peers, initiators, hosts].find((group) => group.length === 1) ?? [];
  if (only) return only.name;
  if (peers.length === 0)
    throw new KithError({ code: 'control.no-peer', message: 'no peer runs on this machine', hint: START });
  throw new KithError({
    code: 'control.which-peer',
    message: `${peers.length} peers run on this machine: ${peers.map(({ name }) => name).join(', ')}`,
    hint: 'say which one with --peer NAME',
  });
}

const START = 'start one with kith peer, kith worker or kith run';

async function namesIn(runtime: string): Promise<string[]> {
  try {
    return (await readdir(runtime)).filter(isName);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return [];
    throw new KithError({
      code: 'control.no-runtime',
      message: `cannot read ${runtime}: ${String(cause)}`,
      hint: 'look at its rights',
      cause,
    });
  }
}
