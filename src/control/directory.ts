/** The runtime directory of one running peer: its name is taken while it lives and free again when it is gone. */
import { connect } from 'node:net';
import { join } from 'node:path';
import { errorCode, KithError } from '../base/errors.ts';
import { openNamedRunDirectory, type RunDirectory } from '../base/guard.ts';
import { isName, NAME_PATTERN } from '../base/ids.ts';
import { openRuntimeDirectory } from '../base/paths.ts';

const SOCKET = 'control.sock';

export interface PeerDirectory extends AsyncDisposable {
  readonly path: string;
  /** Where `kith ps` and friends connect. */
  readonly socket: string;
  readonly run: RunDirectory;
}

export const socketOf = (runtime: string, name: string): string => join(runtime, name, SOCKET);

/** Takes the name. One that a living peer has is refused; what a dead one left behind is removed. */
export async function openPeerDirectory(runtime: string, name: string): Promise<PeerDirectory> {
  if (!isName(name)) {
    throw new KithError({
      code: 'control.bad-name',
      message: `${name} is not a peer name`,
      hint: `lower-case letters, digits and hyphens: ${NAME_PATTERN}`,
    });
  }
  const path = join(await openRuntimeDirectory(runtime), name);
  const run = await openNamedRunDirectory(path).catch((error: unknown) => {
    throw errorCode(error) === 'base.directory-taken' ? taken(name, error) : error;
  });
  return { path, socket: socketOf(runtime, name), run, [Symbol.asyncDispose]: () => run[Symbol.asyncDispose]() };
}

/** True when somebody listens there. */
export function isLive(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const answer = (live: boolean) => {
      socket.destroy();
      resolve(live);
    };
    socket.once('connect', () => answer(true));
    socket.once('error', () => answer(false));
  });
}

const taken = (name: string, cause: unknown) =>
  new KithError({
    code: 'control.name-taken',
    message: `a peer named ${name} runs already`,
    hint: 'choose another --name, or end it with kith down',
    cause,
  });
