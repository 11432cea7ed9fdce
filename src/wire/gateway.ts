/** Keeps a TCP port of the router open that leads to us, for as long as we live: PCP, or NAT-PMP where the router knows no more. */
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { readFile } from 'node:fs/promises';
import { orAborted } from '../base/abort.ts';
import { systemClock, type Clock } from '../base/clock.ts';
import { describeError, KithError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { formatEndpoint, isEndpoint, isPublic, type Endpoint } from './addresses.ts';
import {
  decodePcp,
  decodePmpAddress,
  decodePmpPort,
  defaultGateway,
  encodePcp,
  encodePmp,
  MAPPING_PORT,
  NONCE_BYTES,
  type MappingRequest,
} from './port-mapping.ts';

export interface PortMapping extends AsyncDisposable {
  /** Where the router lets others in to us; undefined as long as it does not. */
  readonly endpoint: Endpoint | undefined;
  /** Resolves after the first try. Never rejects. */
  readonly tried: Promise<void>;
}

export interface PortMappingOptions {
  /** The TCP port that we listen at. */
  readonly port: number;
  /** Default: the router that the system sends everything to. */
  readonly gateway?: { readonly host: string; readonly port: number };
  readonly clock?: Clock;
  readonly log: Log;
}

/** RFC 6886 3.3 recommends two hours. */
const LIFETIME_S = 7200;
/** RFC 6886 3.1: asked again after 250 ms, then after twice as long each time; nine times would be two minutes. */
const FIRST_WAIT_MS = 250;
const TRIES = 5;
/** After a refusal, or where nobody answers: routers start again, and people plug them in. */
const AGAIN_MS = 600_000;
/** Renewed at half time (RFC 6886 3.3), but never in a hurry, whatever the router says. */
const SOONEST_MS = 60_000;
/** Longer than a day (RFC 6887 15) nobody should promise; and a timer of more than 24.8 days would end at once. */
const LATEST_MS = 43_200_000;

export function keepPortMapping(options: PortMappingOptions): PortMapping {
  const { port, clock = systemClock, log } = options;
  const stop = new AbortController();
  const nonce = randomBytes(NONCE_BYTES);
  const tried = Promise.withResolvers<void>();
  let endpoint: Endpoint | undefined;
  let cancel = () => {};
  let running = Promise.resolve();

  async function renew(): Promise<void> {
    let wait = AGAIN_MS;
    try {
      const gateway = options.gateway ?? (await systemGateway());
      await using router = await openRouter(gateway, clock, stop.signal);
      const found = await router.map({ nonce, client: router.client, port, seconds: LIFETIME_S });
      if (!isEndpoint(found.endpoint) || !isPublic(found.endpoint.host)) {
        throw refused(`it has no public address itself, but ${found.endpoint.host}`);
      }
      endpoint = found.endpoint;
      wait = Math.min(Math.max(SOONEST_MS, (found.seconds * 1000) / 2), LATEST_MS);
      log.info('router opened a port', { address: formatEndpoint(endpoint) });
    } catch (error) {
      if (!stop.signal.aborted) {
        endpoint = undefined;
        log.info('router opened no port', { reason: describeError(error) });
      }
    }
    tried.resolve();
    if (!stop.signal.aborted) cancel = clock.after(wait, () => void (running = renew()));
  }

  running = renew();
  return {
    get endpoint() {
      return endpoint;
    },
    tried: tried.promise,
    async [Symbol.asyncDispose]() {
      stop.abort();
      cancel();
      await running;
      if (!endpoint) return;
      endpoint = undefined;
      // One word of thanks; if it is lost, the port closes by itself.
      const gateway = options.gateway ?? (await systemGateway().catch(() => undefined));
      if (gateway) await farewell(gateway, { nonce, client: '0.0.0.0', port, seconds: 0 }).catch(() => {});
    },
  };
}

interface Router extends AsyncDisposable {
  /** Our address on the way to it. */
  readonly client: string;
  map(request: MappingRequest): Promise<{ readonly endpoint: Endpoint; readonly seconds: number }>;
}

async function openRouter(gateway: Endpoint, clock: Clock, signal: AbortSignal): Promise<Router> {
  const socket = await connected(gateway);
  const stopped = Promise.withResolvers<never>();
  stopped.promise.catch(() => {});
  socket.on('error', stopped.reject);

  /** Says it until something comes that `read` can make sense of. */
  async function ask<T>(message: Buffer, read: (answer: Buffer) => T | undefined): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const onMessage = (answer: Buffer) => {
      const found = read(answer);
      if (found !== undefined) resolve(found);
    };
    socket.on('message', onMessage);
    const timers = Array.from({ length: TRIES }, (_, i) =>
      clock.after(FIRST_WAIT_MS * (2 ** (i + 1) - 1), () => {
        if (i < TRIES - 1) socket.send(message);
        else reject(refused('it does not answer'));
      }),
    );
    socket.send(message);
    try {
      return await orAborted(Promise.race([promise, stopped.promise]), signal);
    } finally {
      for (const cancel of timers) cancel();
      socket.off('message', onMessage);
    }
  }

  return {
    client: socket.address().address,
    async map(request) {
      const answer = await ask(encodePcp(request), (message) => decodePcp(message, request));
      if (answer.kind === 'refused') throw refused(`it says no (PCP result ${answer.code})`);
      if (answer.kind === 'mapped') return answer;
      const questions = encodePmp(request);
      const host = await ask(questions.address, decodePmpAddress);
      if (typeof host !== 'string') throw refused(`it says no (NAT-PMP result ${host.code})`);
      const lent = await ask(questions.map, (message) => decodePmpPort(message, request));
      if ('code' in lent) throw refused(`it says no (NAT-PMP result ${lent.code})`);
      return { endpoint: { host, port: lent.port }, seconds: lent.seconds };
    },
    async [Symbol.asyncDispose]() {
      socket.close();
    },
  };
}

/** In both tongues: each router ignores the one that it does not know. */
async function farewell(gateway: Endpoint, request: MappingRequest): Promise<void> {
  const socket = await connected(gateway);
  const words = [encodePcp({ ...request, client: socket.address().address }), encodePmp(request).map];
  await Promise.all(words.map((word) => new Promise((resolve) => socket.send(word, resolve))));
  socket.close();
}

/** The kernel drops what others send us. */
async function connected({ host, port }: Endpoint): Promise<Socket> {
  const socket = createSocket('udp4');
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.once('error', reject);
  socket.connect(port, host, resolve);
  try {
    await promise;
  } catch (error) {
    socket.close();
    throw error;
  }
  socket.off('error', reject).on('error', () => {});
  return socket;
}

async function systemGateway(): Promise<Endpoint> {
  const host = defaultGateway(await readFile('/proc/net/route', 'utf8').catch(() => ''));
  if (host === undefined) throw refused('there is none that we know of');
  return { host, port: MAPPING_PORT };
}

function refused(why: string): KithError {
  return new KithError({
    code: 'wire.port-mapping',
    message: `the router opens no port: ${why}`,
    hint: 'open one by hand, and announce it',
    retry: 'later',
  });
}
