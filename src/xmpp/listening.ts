/** Who listens on a port: finding a free one, seeing a foreign listener, waiting for our own server by its certificate. */
import { createServer } from 'node:net';
import { connect } from 'node:tls';
import { KithError } from '../base/errors.ts';

/** A port that was free a moment ago. */
export async function freePort(host: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, host, resolve));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  return address.port;
}

/** True when the port cannot be bound because somebody else has it. */
export async function hasListener(host: string, port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') return resolve(true);
      reject(
        new KithError({
          code: 'xmpp.listen',
          message: `cannot listen on ${host}:${port}: ${error.message}`,
          hint: 'choose an address of this machine and a port above 1023',
          cause: error,
        }),
      );
    });
    server.listen(port, host, () => server.close(() => resolve(false)));
  });
}

/** Resolves when the server with this certificate answers a TLS handshake. A foreign server on the port fails at once. */
export async function waitForServer(options: {
  readonly host: string;
  readonly port: number;
  readonly fingerprint: string;
  readonly deadlineMs: number;
  readonly signal?: AbortSignal;
}): Promise<void> {
  const { host, port, fingerprint, deadlineMs, signal } = options;
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    signal?.throwIfAborted();
    const found = await peek(host, port);
    if (found === fingerprint) return;
    if (found !== undefined) {
      throw new KithError({
        code: 'xmpp.port-taken',
        message: `another server answers on ${host}:${port}`,
        hint: 'choose another port',
      });
    }
    if (performance.now() > deadline) {
      throw new KithError({
        code: 'xmpp.prosody-mute',
        message: `prosody does not listen on ${host}:${port} after ${deadlineMs / 1000} s`,
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Fingerprint of whoever answers, undefined if nobody does (yet). */
function peek(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    // Only the certificate is read and compared; nothing is sent.
    const socket = connect({ host, port, rejectUnauthorized: false, timeout: 2000 }, () => {
      resolve(socket.getPeerCertificate().fingerprint256);
      socket.destroy();
    });
    const nobody = () => {
      resolve(undefined);
      socket.destroy();
    };
    socket.on('error', nobody).on('timeout', nobody).on('close', nobody);
  });
}
