/** A server that lies while we log in: about its certificate, its mechanisms, its knowledge of our password. */
import { createServer, type Server, type Socket } from 'node:net';
import { KithError } from '../../src/base/errors.ts';
import { openSession, type SessionOptions } from '../../src/xmpp/session.ts';
import { attacks, type Attack, type Outcome } from '../harness/evil-rows.ts';
import {
  admit,
  bindAndEnable,
  FAKE_PASSWORD,
  greet,
  scram,
  startFakeServer,
  type FakeConnection,
  type Lies,
} from '../harness/fake-server.ts';

const SASL = 'urn:ietf:params:xml:ns:xmpp-sasl';

/** One client meets one server; what the server got, and how the client's attempt ended. */
async function meet(
  script: (connection: FakeConnection) => Promise<void>,
  more: (fingerprint: string) => Partial<SessionOptions> = () => ({}),
): Promise<{ readonly heard: string; readonly code: string }> {
  const scripts: Promise<void>[] = [];
  await using fake = await startFakeServer((connection) => {
    const running = script(connection);
    scripts.push(running.catch(() => {}));
    return running;
  });
  let code = 'online';
  try {
    await using _session = await openSession({
      host: '127.0.0.1',
      port: fake.port,
      domain: fake.domain,
      fingerprint: fake.fingerprint,
      username: 'me',
      password: FAKE_PASSWORD,
      bytesPerSecond: 1e6,
      ...more(fake.fingerprint),
    });
  } catch (error) {
    code = error instanceof KithError ? error.code : String(error);
  }
  await Promise.all(scripts); // what the client said last may still be on its way
  return { heard: fake.connections.map(({ received }) => received).join(), code };
}

const judge = (success: boolean, code: string): Outcome => (success ? 'succeeded' : `refused: ${code}`);

/** The client comes online with a server that lied in its part of SCRAM. */
const lying = (lies: Lies) => async (): Promise<Outcome> => {
  const { code } = await meet(async (connection) => {
    await greet(connection);
    await scram(connection, lies);
    await bindAndEnable(connection);
  });
  return judge(code === 'online', code);
};

/** The client answers a challenge that an honest server would not send. */
const challenging = (challenge: (nonce: string) => string) => async (): Promise<Outcome> => {
  const { heard, code } = await meet(async (connection) => {
    await greet(connection);
    const [, first = ''] = await connection.expect(/<auth [^>]*>([^<]*)<\/auth>/);
    const nonce = /r=(.*)/.exec(Buffer.from(first, 'base64').toString())?.[1] ?? '';
    connection.send(`<challenge xmlns='${SASL}'>${Buffer.from(challenge(nonce)).toString('base64')}</challenge>`);
    await connection.expect(/<response /);
    connection.end();
  });
  return judge(heard.includes('<response '), code);
};

async function plainServer(): Promise<{ server: Server; port: number; heard: () => string } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  let heard = '';
  const server = createServer((socket) => {
    sockets.add(socket);
    socket
      .on('error', () => {})
      .on('data', (data) => {
        heard += data.toString('latin1');
        socket.write('<stream:stream/>');
        if (heard.includes('<stream:stream')) socket.destroy();
      });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    server,
    port: (server.address() as { port: number }).port,
    heard: () => heard,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const rows: readonly Attack<undefined>[] = [
  {
    name: 'server says success without its SCRAM signature',
    guard: 'SCRAM: the server must prove the password',
    off: ['scram.signature'],
    attack: lying({ final: `<success xmlns='${SASL}'/>` }),
  },
  {
    name: 'server that does not know the password signs with a guess',
    guard: 'SCRAM: the server must prove the password',
    off: ['scram.signature'],
    attack: lying({ password: 'a guess' }),
  },
  {
    name: 'server asks for one iteration, to guess the password offline',
    guard: 'SCRAM: at least 4096 iterations',
    off: ['scram.iterations'],
    attack: challenging((nonce) => `r=${nonce}abc,s=c2FsdA==,i=1`),
  },
  {
    name: 'server asks for two million iterations, to keep us busy',
    guard: 'SCRAM: at most a million iterations',
    off: ['scram.iterations'],
    attack: challenging((nonce) => `r=${nonce}abc,s=c2FsdA==,i=2000000`),
  },
  {
    name: 'server replays a challenge of another login',
    guard: 'SCRAM: the challenge must extend our nonce',
    off: ['scram.nonce'],
    attack: challenging(() => 'r=recorded-nonce,s=c2FsdA==,i=4096'),
  },
  {
    name: 'server offers only PLAIN, to hear the password',
    guard: 'login: SCRAM or nothing',
    off: ['login.mechanisms'],
    async attack() {
      const { heard, code } = await meet(async (connection) => {
        await greet(connection, ['PLAIN']);
        await connection.expect(/<\/auth>/);
      });
      const passwords = [...heard.matchAll(/<auth [^>]*>([^<]*)</g)].map(([, text = '']) => atob(text));
      return judge(
        passwords.some((text) => text.includes(FAKE_PASSWORD)),
        code,
      );
    },
  },
  {
    name: 'server without TLS',
    guard: 'transport: direct TLS or nothing',
    off: ['tls.only'],
    async attack() {
      await using plain = await plainServer();
      const { code } = await meet(
        async () => {},
        () => ({ port: plain.port }),
      );
      return judge(plain.heard().includes('<stream:stream'), code);
    },
  },
  {
    name: 'server with another certificate than the invitation says',
    guard: 'transport: the pinned certificate or nothing',
    off: ['tls.pin'],
    async attack() {
      const { code } = await meet(
        (connection) => admit(connection),
        (fingerprint) => ({
          fingerprint: fingerprint.replace(/^../, fingerprint.startsWith('00') ? '01' : '00'),
        }),
      );
      return judge(code === 'online', code);
    },
  },
];

attacks(rows, () => undefined);
