/** The one door of this process for direct wires: TLS 1.3, and nobody comes in whom no attempt expects. */
import { once } from 'node:events';
import { isIP, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { createSecureContext, createServer, type SecureContext, type TLSSocket } from 'node:tls';
import { fingerprintOf, makeCertificate } from '../base/certificate.ts';
import { describeError, KithError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { dialOrder, formatEndpoint, ownEndpoints, parseEndpoint, type Endpoint } from './addresses.ts';
import { keepPortMapping } from './gateway.ts';
import { isPreface, PREFACE_BYTES } from './direct-signal.ts';
import { TERMS } from './direct-terms.ts';
import { readExactly } from './read-exactly.ts';

/** One attempt, while it is under way. Only then is anybody let in. */
export interface Attempt extends Disposable {
  /** Whoever shows this certificate and says this first is the peer; he may have been waiting already. */
  expect(fingerprint: string, preface: Buffer, take: (socket: TLSSocket) => void): void;
}

export interface DirectListener extends AsyncDisposable {
  /** SHA-256 of our certificate, as signals carry it. */
  readonly fingerprint: string;
  /** Key, certificate and terms, for dialling too. */
  readonly context: SecureContext;
  readonly bindAddress: string | undefined;
  /** Where we can be reached, as far as we know. Asked anew for each attempt: addresses come and go. */
  endpoints(): Endpoint[];
  /** Those of a peer's that are worth dialling, best first. */
  dialOrder(candidates: readonly Endpoint[]): Endpoint[];
  attempt(): Attempt;
}

export interface DirectListenerOptions {
  /** Address that is listened at and dialled from; without it, all of the host's. */
  readonly bindAddress?: string;
  /** Fixed, for a router that passes it on; without it, any that is free. */
  readonly port?: number;
  /** Where else peers reach us: `203.0.113.5:4000`, a router's address with a port that leads here. */
  readonly announce?: readonly string[];
  /** Asks the router to open a port that leads here (PCP, NAT-PMP). Off unless the user wants it: it opens the door to everybody. */
  readonly mapPort?: boolean;
  readonly log: Log;
  readonly signal?: AbortSignal;
}

/** From the connection to the preface. An honest peer has dialled because we answered: it takes three round trips. */
const DEADLINE_MS = 5000;
/** Connections that have not shown yet who they are. With more than that, somebody is not honest; each holds some 100 KB at most. */
const MAX_PENDING = 64;

interface Expectation {
  readonly fingerprint: string;
  readonly preface: Buffer;
  readonly take: (socket: TLSSocket) => void;
}

/** Somebody of whom we know nothing yet. */
interface Pending {
  readonly socket: Socket;
  readonly deadline: NodeJS.Timeout;
}

/** Somebody whose certificate we know, and soon his first words. */
interface Visitor {
  readonly socket: TLSSocket;
  readonly fingerprint: string;
  preface: Buffer | undefined;
}

export async function openDirectListener(options: DirectListenerOptions): Promise<DirectListener> {
  const { bindAddress, port = 0, log, signal } = options;
  if (bindAddress !== undefined && isIP(bindAddress) === 0) {
    throw new KithError({
      code: 'wire.listen-failed',
      message: `${bindAddress} is no IP address: peers could not be told where to dial`,
      hint: 'give --wire-address as a number, or leave it out for all addresses of this machine',
      retry: 'never',
    });
  }
  const announce = (options.announce ?? []).map(announced);
  const { key, certificate, fingerprint } = await makeCertificate('kith');
  signal?.throwIfAborted();
  const context = createSecureContext({ key, cert: certificate, ...TERMS });
  /** Connections by `address:port` of the other end, until they are let in. */
  const pending = new Map<string, Pending>();
  const visitors = new Set<Visitor>();
  const expectations = new Set<Expectation>();
  let attempts = 0;

  const server = createServer({
    key,
    cert: certificate,
    ...TERMS,
    requestCert: true,
    // Nobody signed these certificates; what counts is the fingerprint, which is compared before a byte is read.
    rejectUnauthorized: false,
    handshakeTimeout: DEADLINE_MS,
  });

  server.on('connection', (socket: Socket) => {
    // Between attempts nobody is expected.
    if (attempts === 0) return void socket.destroy();
    if (pending.size >= MAX_PENDING) {
      const [crowded, { socket: oldest }] = crowdedOut(pending);
      leave(crowded); // at once: 'close' comes later than the next connections
      oldest.destroy();
    }
    const name = nameOf(socket);
    const deadline = setTimeout(() => socket.destroy(), DEADLINE_MS);
    pending.set(name, { socket, deadline });
    socket.on('error', () => {}); // told by 'close'
    socket.on('close', () => leave(name));
  });

  function leave(name: string): void {
    clearTimeout(pending.get(name)?.deadline);
    pending.delete(name);
  }

  server.on('secureConnection', (socket) => {
    socket.on('error', () => {}); // told by 'close'
    const shown = socket.getPeerX509Certificate();
    if (!shown || socket.isSessionReused()) return void socket.destroy();
    void welcome({ socket, fingerprint: fingerprintOf(shown.raw), preface: undefined });
  });
  server.on('tlsClientError', (error, socket) => {
    log.debug('connection refused', { reason: describeError(error) });
    socket.destroy();
  });

  async function welcome(visitor: Visitor): Promise<void> {
    const { socket } = visitor;
    visitors.add(visitor);
    socket.on('close', () => visitors.delete(visitor));
    visitor.preface = await readExactly(socket, PREFACE_BYTES);
    if (!visitor.preface) return void socket.destroy();
    for (const expectation of expectations) if (letIn(visitor, expectation)) return;
    // Else he may have been quicker than the answer that announces him, and waits until his time is over.
  }

  function letIn(visitor: Visitor, { fingerprint: expected, preface, take }: Expectation): boolean {
    if (visitor.fingerprint !== expected) return false;
    if (!visitor.preface || !isPreface(visitor.preface, preface)) return false;
    visitors.delete(visitor);
    leave(nameOf(visitor.socket));
    take(visitor.socket);
    return true;
  }

  await listening(server, { port, bindAddress, signal });
  const address = server.address();
  const bound = typeof address === 'object' && address ? address.port : port;
  const mapping = options.mapPort ? keepPortMapping({ port: bound, log }) : undefined;
  const endpoints = () => {
    const outside = mapping?.endpoint ? [...announce, mapping.endpoint] : announce;
    return ownEndpoints({ interfaces: networkInterfaces(), bindAddress, port: bound, announce: outside });
  };
  log.debug('direct listener open', { address: endpoints().map(formatEndpoint).join(' ') });

  return {
    fingerprint,
    context,
    bindAddress,
    endpoints,
    dialOrder: (candidates) =>
      dialOrder({ candidates, interfaces: networkInterfaces(), bindAddress, own: endpoints() }),
    attempt() {
      const mine: Expectation[] = [];
      attempts++;
      let over = false;
      return {
        expect(expected, preface, take) {
          const expectation = { fingerprint: expected, preface, take };
          mine.push(expectation);
          expectations.add(expectation);
          for (const visitor of visitors) letIn(visitor, expectation);
        },
        [Symbol.dispose]() {
          if (over) return;
          over = true;
          attempts--;
          for (const expectation of mine) expectations.delete(expectation);
          if (attempts === 0) for (const { socket } of pending.values()) socket.destroy();
        },
      };
    },
    async [Symbol.asyncDispose]() {
      // Wires that are open go on: each is disposed by whoever opened it.
      server.close();
      for (const { socket } of pending.values()) socket.destroy();
      await mapping?.[Symbol.asyncDispose]();
    },
  };
}

const nameOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress ?? ''} ${remotePort ?? 0}`;

/** The oldest connection from the address that has most of them: a crowd pushes out its own. */
function crowdedOut(pending: ReadonlyMap<string, Pending>): [name: string, Pending] {
  const crowds = Map.groupBy(pending, ([, { socket }]) => socket.remoteAddress);
  const [largest] = [...crowds.values()].toSorted((a, b) => b.length - a.length);
  return largest![0]!;
}

function announced(text: string): Endpoint {
  const endpoint = parseEndpoint(text);
  if (endpoint) return endpoint;
  throw new KithError({
    code: 'wire.announce',
    message: `${text} is not an address that peers can reach`,
    hint: 'write it like 203.0.113.5:4000 or [2001:db8::5]:4000',
  });
}

async function listening(
  server: ReturnType<typeof createServer>,
  how: { readonly port: number; readonly bindAddress: string | undefined; readonly signal: AbortSignal | undefined },
): Promise<void> {
  const { port, bindAddress, signal } = how;
  try {
    server.listen({ port, ...(bindAddress === undefined ? {} : { host: bindAddress }) });
    await once(server, 'listening', signal ? { signal } : {});
  } catch (cause) {
    server.close();
    signal?.throwIfAborted();
    throw new KithError({
      code: 'wire.listen-failed',
      message: `cannot listen for direct connections${port > 0 ? ` on port ${port}` : ''}: ${describeError(cause)}`,
      hint: 'choose another port or address, or leave both out',
      cause,
    });
  }
}
