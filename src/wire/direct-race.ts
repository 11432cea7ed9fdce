/** All connections of one direct attempt, dialled and accepted: the first that proves itself wins, the others are closed. */
import type { TLSSocket } from 'node:tls';
import { MAX_ENDPOINTS, type Endpoint } from './addresses.ts';
import { dialAll, type Dialling } from './direct-dial.ts';
import type { Attempt, DirectListener } from './direct-listener.ts';
import { isPreface, PREFACE_BYTES, type Prefaces } from './direct-signal.ts';
import { readExactly } from './read-exactly.ts';

/*
 * On each connection, after the certificates: who dialled says his preface, the other one answers with his own. Both directions may
 * succeed at once; then the offering end says GO on one of them, and the other end takes that one.
 */
const GO = 1;
/** Each address that one of us names is dialled once. Who knows the preface and dials again and again gains nothing by it. */
const MAX_RUNNERS = 2 * MAX_ENDPOINTS;

export interface Race extends Disposable {
  /** The connection that both ends have chosen. Pending for as long as there is none. */
  readonly won: Promise<TLSSocket>;
  /** Accepting goes on all the time; dialling begins now. */
  dial(endpoints: readonly Endpoint[]): void;
  /** What became of the dialled ones, in words. */
  outcome(): string;
}

export function startRace(options: {
  readonly listener: DirectListener;
  readonly attempt: Attempt;
  readonly offer: boolean;
  /** SHA-256 of the certificate that the peer has to show. */
  readonly fingerprint: string;
  readonly prefaces: Prefaces;
}): Race {
  const { listener, attempt, offer, fingerprint, prefaces } = options;
  const [ours, theirs] = offer ? [prefaces.offerer, prefaces.answerer] : [prefaces.answerer, prefaces.offerer];
  const won = Promise.withResolvers<TLSSocket>();
  const runners = new Set<TLSSocket>();
  let dialling: Dialling | undefined;
  let over = false;

  function enter(socket: TLSSocket): void {
    if (over || runners.size >= MAX_RUNNERS) return void socket.destroy();
    runners.add(socket);
    socket.on('error', () => {}); // told by 'close'
    socket.on('close', () => runners.delete(socket));
    socket.setNoDelay(true);
    socket.write(ours);
  }

  /** The other end has the certificate and knows both signals. */
  async function proven(socket: TLSSocket): Promise<void> {
    const go = offer || (await readExactly(socket, 1))?.[0] === GO;
    if (over || socket.destroyed || !go) return void socket.destroy();
    if (offer) socket.write(Uint8Array.of(GO));
    runners.delete(socket);
    stop();
    won.resolve(socket);
  }

  async function dialled(socket: TLSSocket): Promise<void> {
    enter(socket);
    const said = await readExactly(socket, PREFACE_BYTES);
    if (said && isPreface(said, theirs)) await proven(socket);
    else socket.destroy();
  }

  function stop(): void {
    over = true;
    dialling?.[Symbol.dispose]();
    for (const socket of runners) socket.destroy();
    runners.clear();
  }

  attempt.expect(fingerprint, theirs, (socket) => {
    enter(socket);
    void proven(socket);
  });

  return {
    won: won.promise,
    dial(endpoints) {
      if (over) return;
      dialling = dialAll({
        listener,
        endpoints,
        fingerprint,
        onOpen: (socket) => void dialled(socket),
      });
    },
    outcome: () => dialling?.outcome() ?? '',
    [Symbol.dispose]: stop,
  };
}
