/** One conversation with a STUN or TURN server over UDP: asked again while nothing comes, other people's datagrams unheard. */
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { orAborted } from '../base/abort.ts';
import type { Clock } from '../base/clock.ts';
import { KithError } from '../base/errors.ts';
import {
  decodeAnswer,
  encodeRequest,
  TRANSACTION_BYTES,
  type Credential,
  type Method,
  type StunAnswer,
} from './stun.ts';

export interface StunClient extends Disposable {
  /** Errors: `wire.stun-mute` after 3 s, `wire.stun-unreachable`. */
  ask(method: Method, credential?: Credential): Promise<StunAnswer>;
}

/** RFC 8489 6.2.1: again after 500 ms, then after twice as long. */
const AGAIN_MS = [500, 1500] as const;
const DEADLINE_MS = 3000;

export async function openStunClient(options: {
  readonly host: string;
  readonly port: number;
  readonly bindAddress?: string | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}): Promise<StunClient> {
  const { host, port, bindAddress, clock, signal } = options;
  const unreachable = (cause: unknown) =>
    new KithError({
      code: 'wire.stun-unreachable',
      message: `cannot reach ${host} port ${port} by UDP: ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: 'check name, port and firewall, or name another server in iceServers',
      retry: 'later',
      cause,
    });
  const { address, family } = await orAborted(lookup(host), signal).catch((error: unknown) => {
    throw signal.aborted ? error : unreachable(error);
  });
  const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
  try {
    if (bindAddress !== undefined) await bound(socket, bindAddress);
    // Connected: the kernel drops what others send us, and says when nothing listens there.
    await orAborted(connected(socket, port, address), signal);
  } catch (error) {
    socket.close();
    throw signal.aborted ? error : unreachable(error);
  }

  async function ask(method: Method, credential?: Credential): Promise<StunAnswer> {
    const transaction = randomBytes(TRANSACTION_BYTES);
    const request = encodeRequest(method, transaction, credential);
    const { promise, resolve, reject } = Promise.withResolvers<StunAnswer>();
    const onMessage = (bytes: Buffer) => {
      const answer = decodeAnswer(bytes, { method, transaction, ...(credential ? { credential } : {}) });
      if (answer) resolve(answer);
    };
    const onError = (error: Error) => reject(unreachable(error));
    const send = () =>
      socket.send(request, (error) => {
        if (error) onError(error);
      });
    socket.on('message', onMessage).on('error', onError);
    const timers = [
      ...AGAIN_MS.map((ms) => clock.after(ms, send)),
      clock.after(DEADLINE_MS, () => reject(mute(host, port))),
    ];
    send();
    try {
      return await orAborted(promise, signal);
    } finally {
      for (const cancel of timers) cancel();
      socket.off('message', onMessage).off('error', onError);
      socket.on('error', () => {}); // a late "nothing listens" must not end the process
    }
  }
  return { ask, [Symbol.dispose]: () => void socket.close() };
}

async function bound(socket: Socket, address: string): Promise<void> {
  socket.bind(0, address);
  await once(socket, 'listening');
}

async function connected(socket: Socket, port: number, address: string): Promise<void> {
  socket.connect(port, address);
  await once(socket, 'connect');
}

const mute = (host: string, port: number) =>
  new KithError({
    code: 'wire.stun-mute',
    message: `${host} port ${port} gave no valid answer by UDP within ${DEADLINE_MS / 1000} s`,
    hint: 'check that a STUN server runs there and that no firewall stops UDP, or name another server in iceServers',
    retry: 'later',
  });
