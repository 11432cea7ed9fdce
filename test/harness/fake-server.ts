/** A scripted XMPP server with direct TLS, for lies that no real server tells. */
import { createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type TLSSocket } from 'node:tls';
import { ensureCertificate } from '../../src/xmpp/certificate.ts';

export interface FakeConnection {
  readonly servername: string | undefined;
  /** All that the client sent so far. */
  readonly received: string;
  /** Waits until the client has sent this, after what was expected before. */
  expect(pattern: RegExp): Promise<RegExpExecArray>;
  send(data: string | Buffer): void;
  end(): void;
}

export interface FakeServer extends AsyncDisposable {
  readonly port: number;
  readonly domain: string;
  readonly fingerprint: string;
  readonly connections: readonly FakeConnection[];
}

export const FAKE_PASSWORD = 'secret of fake';
const DOMAIN = 'fake.internal';
const HEADER = `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' from='${DOMAIN}' version='1.0'>`;
const SASL = 'urn:ietf:params:xml:ns:xmpp-sasl';

export async function startFakeServer(script: (connection: FakeConnection) => Promise<void>): Promise<FakeServer> {
  const directory = await mkdtemp(join(tmpdir(), 'kith-fake-'));
  const fingerprint = await ensureCertificate(directory, DOMAIN);
  const [key, cert] = await Promise.all([
    readFile(join(directory, 'server.key')),
    readFile(join(directory, 'server.crt')),
  ]);
  const connections: FakeConnection[] = [];
  const sockets = new Set<TLSSocket>();
  const server = createServer({ key, cert }, (socket) => {
    sockets.add(socket);
    const connection = wrap(socket);
    connections.push(connection);
    script(connection).catch(() => socket.destroy());
  });
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  return {
    port: address.port,
    domain: DOMAIN,
    fingerprint,
    connections,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function wrap(socket: TLSSocket): FakeConnection {
  let received = '';
  let position = 0;
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const check of waiting) check();
  };
  socket.on('data', (data: Buffer) => {
    received += data.toString('latin1');
    if (received.endsWith('</stream:stream>')) socket.end('</stream:stream>');
    wake();
  });
  socket.on('error', () => {});
  socket.on('close', wake);
  return {
    servername: typeof socket.servername === 'string' ? socket.servername : undefined,
    get received() {
      return received;
    },
    expect: (pattern) =>
      new Promise((resolve, reject) => {
        const check = () => {
          const match = pattern.exec(received.slice(position));
          if (match) {
            position += match.index + match[0].length;
            waiting.delete(check);
            resolve(match);
          } else if (socket.destroyed) {
            waiting.delete(check);
            reject(new Error('the client left'));
          }
        };
        waiting.add(check);
        check();
      }),
    send: (data) => void socket.write(data),
    end: () => socket.destroy(),
  };
}

/** Stream header and the first features. */
export async function greet(
  connection: FakeConnection,
  mechanisms: readonly string[] = ['SCRAM-SHA-256'],
): Promise<void> {
  await connection.expect(/<stream:stream[^>]*>/);
  const list = mechanisms.map((name) => `<mechanism>${name}</mechanism>`).join('');
  connection.send(`${HEADER}<stream:features><mechanisms xmlns='${SASL}'>${list}</mechanisms></stream:features>`);
}

export interface Lies {
  readonly iterations?: number;
  /** Not knowing the password, it can only make a signature up. */
  readonly password?: string;
  /** What it says after the proof. Default `success` with the signature. */
  readonly final?: string;
}

/** The server's side of SCRAM-SHA-256, honest unless told otherwise. */
export async function scram(connection: FakeConnection, lies: Lies = {}): Promise<void> {
  const { iterations = 4096, password = FAKE_PASSWORD } = lies;
  const [, first = ''] = await connection.expect(/<auth [^>]*>([^<]*)<\/auth>/);
  const bare = Buffer.from(first, 'base64').toString().slice(3);
  const nonce = `${/r=(.*)/.exec(bare)?.[1]}${randomBytes(8).toString('hex')}`;
  const salt = randomBytes(16);
  const serverFirst = `r=${nonce},s=${salt.toString('base64')},i=${iterations}`;
  connection.send(`<challenge xmlns='${SASL}'>${Buffer.from(serverFirst).toString('base64')}</challenge>`);
  const [, second = ''] = await connection.expect(/<response [^>]*>([^<]*)<\/response>/);
  const final = Buffer.from(second, 'base64').toString();
  const mac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest();
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256');
  const message = `${bare},${serverFirst},${final.slice(0, final.lastIndexOf(',p='))}`;
  const signature = mac(mac(salted, 'Server Key'), message).toString('base64');
  connection.send(
    lies.final ?? `<success xmlns='${SASL}'>${Buffer.from(`v=${signature}`).toString('base64')}</success>`,
  );
}

/** Binding and stream management; `after` leaves in the same write as `<enabled/>`. */
export async function bindAndEnable(connection: FakeConnection, after: string | Buffer = ''): Promise<void> {
  await connection.expect(/<stream:stream[^>]*>/);
  connection.send(
    `${HEADER}<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>`,
  );
  let [, id] = await connection.expect(/<resume |<iq [^>]*id="([^"]*)"[^>]*><bind/);
  if (id === undefined) {
    connection.send(`<failed xmlns='urn:xmpp:sm:3'/>`);
    [, id] = await connection.expect(/<iq [^>]*id="([^"]*)"[^>]*><bind/);
  }
  connection.send(
    `<iq type='result' id='${id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>me@${DOMAIN}/here</jid></bind></iq>`,
  );
  await connection.expect(/<enable [^>]*>/);
  connection.send(
    Buffer.concat([Buffer.from(`<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true'/>`), Buffer.from(after)]),
  );
}

/** An honest login from first byte to stream management. */
export async function admit(connection: FakeConnection, after: string | Buffer = ''): Promise<void> {
  await greet(connection);
  await scram(connection);
  await bindAndEnable(connection, after);
}
