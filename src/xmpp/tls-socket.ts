/** The transport under @xmpp/client: direct TLS with a pinned or verified certificate, no Nagle, keep-alive, capped input. */
import { EventEmitter } from 'node:events';
import { isIP } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import { connect, type TLSSocket } from 'node:tls';
import { KithError } from '../base/errors.ts';

export interface TransportOptions {
  /** XMPP domain: what a certificate from an authority must be for, and the SNI. */
  readonly domain: string;
  /** `fingerprint256` of the only certificate that is accepted. */
  readonly fingerprint?: string | undefined;
}

/**
 * Largest piece of input that may go by without a whole element in it: twice what Prosody and ejabberd relay. More is a
 * server that wants our memory.
 */
const MAX_INPUT_BYTES = 524_288;

/** Shaped like the sockets of @xmpp/tls, which have no TLS options, leave Nagle on and let parser errors kill the process. */
export class PinnedSocket extends EventEmitter {
  readonly secure = true;
  #socket: TLSSocket | undefined;
  #decoder = new StringDecoder('utf8');
  #held: string[] = [];
  #pending = 0;
  #failed = false;
  readonly #options: TransportOptions;

  constructor(options: TransportOptions) {
    super();
    this.#options = options;
  }

  connect({ host, port }: { host: string; port: number }): void {
    const { domain, fingerprint } = this.#options;
    const socket = connect({
      host,
      port,
      ...(isIP(domain) ? {} : { servername: domain }),
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['xmpp-client'], // XEP-0368
      // With a pin the certificate itself is compared below, before a byte of ours is sent; names and issuers add nothing.
      rejectUnauthorized: fingerprint === undefined,
    });
    this.#socket = socket;
    socket.setNoDelay(true); // 44 ms per round trip otherwise (measured)
    socket.setKeepAlive(true, 15_000);
    socket.on('secureConnect', () => {
      const found = socket.getPeerCertificate().fingerprint256;
      if (fingerprint !== undefined && found !== fingerprint)
        return this.destroy(wrongCertificate(host, port, found, fingerprint));
      this.emit('connect');
    });
    socket.on('data', (data: Buffer) => this.#receive(data));
    socket.on('error', (error: NodeJS.ErrnoException) => this.#fail(translate(error, host, port)));
    socket.on('close', () => {
      this.#fail(
        new KithError({ code: 'xmpp.unreachable', message: `${host}:${port} closed the connection`, retry: 'later' }),
      );
      this.emit('close');
    });
  }

  /** Bytes that the kernel has not taken yet. */
  get backlog(): number {
    return this.#socket?.writableLength ?? 0;
  }

  write(text: string, done?: (error?: Error | null) => void): void {
    if (!this.#socket || this.#socket.destroyed) done?.(new Error('connection is closed'));
    else this.#socket.write(text, done);
  }

  end(): void {
    this.#socket?.end();
  }

  destroy(reason: Error): void {
    this.#fail(reason);
    this.#socket?.destroy();
  }

  /** An element was complete: what comes next is counted from zero. */
  elementSeen(): void {
    this.#pending = 0;
  }

  #receive(data: Buffer): void {
    this.emit('bytes', data.length);
    // Whole characters only: the library would decode each TCP chunk alone and break characters in two (35 of 35, measured).
    const text = this.#decoder.write(data);
    this.#pending += text.length;
    if (this.#pending > MAX_INPUT_BYTES) return this.destroy(tooMuch());
    this.#held.push(text);
    // Text without a bracket cannot end an element; the parser would scan it again with each chunk, quadratically (measured).
    if (!/[<>]/.test(text)) return;
    const whole = this.#held.join('');
    this.#held = [];
    try {
      this.emit('data', whole);
    } catch (cause) {
      // ltx throws for illegal entities and stray end tags; without this the process would die by remote input.
      this.destroy(
        new KithError({
          code: 'xmpp.malformed',
          message: 'the server sent something that is not XML',
          retry: 'later',
          cause,
        }),
      );
    }
  }

  /** One error before `close`, never more. */
  #fail(error: Error): void {
    if (this.#failed) return;
    this.#failed = true;
    this.emit('error', error);
  }
}

const tooMuch = () =>
  new KithError({
    code: 'xmpp.oversized',
    message: `the server sent more than ${MAX_INPUT_BYTES} bytes in one piece`,
    retry: 'later',
  });

function wrongCertificate(host: string, port: number, found: string | undefined, wanted: string): KithError {
  return new KithError({
    code: 'xmpp.certificate',
    message: `the server at ${host}:${port} has another certificate than the one that was promised (${found?.slice(0, 23)}…, not ${wanted.slice(0, 23)}…)`,
    hint: 'ask for a new invitation; if nobody set the server up again, somebody may sit in between',
  });
}

function translate(error: NodeJS.ErrnoException, host: string, port: number): KithError {
  const code = error.code ?? '';
  if (/CERT|SELF_SIGNED|UNABLE_TO|ALTNAME/.test(code)) {
    return new KithError({
      code: 'xmpp.certificate',
      message: `the certificate of ${host}:${port} is not trusted: ${error.message}`,
      hint: 'for a server with its own certificate give its fingerprint, as invitations do',
      cause: error,
    });
  }
  const plain = code === 'EPROTO' || code.startsWith('ERR_SSL');
  return new KithError({
    code: 'xmpp.unreachable',
    message: plain
      ? `${host}:${port} does not speak direct TLS (${code})`
      : `cannot reach the server at ${host}:${port}: ${error.message}`,
    hint: plain
      ? 'give the port for direct TLS, usually 5223'
      : 'check that the server runs and that address and port are right',
    retry: 'later',
    cause: error,
  });
}
