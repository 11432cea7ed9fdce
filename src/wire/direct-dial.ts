/** Dials a peer's addresses, one a little after the other, until told to stop (RFC 8305, "happy eyeballs"). */
import { connect, type TLSSocket } from 'node:tls';
import { fingerprintOf } from '../base/certificate.ts';
import { describeError } from '../base/errors.ts';
import { formatEndpoint, isWildcard, type Endpoint } from './addresses.ts';
import type { DirectListener } from './direct-listener.ts';
import { TERMS } from './direct-terms.ts';

/** RFC 8305 5 recommends 250 ms for the web; between friends the near addresses answer within a few. */
const STAGGER_MS = 150;

export interface Dialling extends Disposable {
  /** `192.0.2.7:4000 refused, 198.51.100.2:4000 no answer`; empty if there was nothing to dial. */
  outcome(): string;
}

export function dialAll(options: {
  readonly listener: DirectListener;
  /** In this order. */
  readonly endpoints: readonly Endpoint[];
  /** SHA-256 of the certificate that the peer has to show. */
  readonly fingerprint: string;
  /** Called with each connection that showed it; may be called several times. */
  readonly onOpen: (socket: TLSSocket) => void;
}): Dialling {
  const { listener, endpoints, fingerprint, onOpen } = options;
  const outcomes = new Map<Endpoint, string>();
  const dialled = new Set<TLSSocket>();
  const waiting = [...endpoints];
  let timer: NodeJS.Timeout | undefined;

  function next(): void {
    clearTimeout(timer);
    const endpoint = waiting.shift();
    if (!endpoint) return;
    outcomes.set(endpoint, 'no answer');
    timer = setTimeout(next, STAGGER_MS);
    dial(endpoint);
  }

  function dial(endpoint: Endpoint): void {
    const { context, bindAddress } = listener;
    const socket = connect({
      host: endpoint.host,
      port: endpoint.port,
      secureContext: context,
      minVersion: TERMS.minVersion,
      // The certificate itself is compared below, before a byte of ours is sent; names and issuers add nothing.
      rejectUnauthorized: false,
      ...(bindAddress === undefined || isWildcard(bindAddress) ? {} : { localAddress: bindAddress }),
    });
    dialled.add(socket);
    let failure: string | undefined;
    socket.on('error', (error) => (failure ??= inWords(error)));
    socket.on('close', () => {
      // One that was handed over and closed later is its new owner's affair.
      if (!dialled.delete(socket)) return;
      outcomes.set(endpoint, failure ?? 'hung up');
      next();
    });
    socket.on('secureConnect', () => {
      const shown = socket.getPeerX509Certificate();
      const found = shown && fingerprintOf(shown.raw);
      if (found !== fingerprint) {
        failure = 'answered by somebody else';
        return void socket.destroy();
      }
      dialled.delete(socket);
      outcomes.set(endpoint, 'did not go on');
      onOpen(socket);
    });
  }

  next();
  return {
    outcome: () => [...outcomes].map(([endpoint, what]) => `${formatEndpoint(endpoint)} ${what}`).join(', '),
    [Symbol.dispose]() {
      waiting.length = 0;
      clearTimeout(timer);
      const unfinished = [...dialled];
      dialled.clear();
      for (const socket of unfinished) socket.destroy();
    },
  };
}

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'hung up',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  EADDRNOTAVAIL: 'unreachable',
  EINVAL: 'unreachable', // the address we are bound to has no way there
  EACCES: 'forbidden here',
  EPERM: 'forbidden here',
  ETIMEDOUT: 'no answer',
};

function inWords(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  return WORDS[code] ?? (code.startsWith('ERR_SSL') ? 'answered by somebody else' : describeError(error));
}
