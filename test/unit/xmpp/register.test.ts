/** A server that takes the connection and then says nothing: told as what it is, not as an interruption. */
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { errorCode } from '../../../src/base/errors.ts';
import { registerAccount } from '../../../src/xmpp/register.ts';

async function silentServer(): Promise<AsyncDisposable & { readonly port: number; readonly dialled: Promise<Socket> }> {
  const dialled = Promise.withResolvers<Socket>();
  const server = createServer((socket) => {
    socket.on('error', () => {}).resume();
    dialled.resolve(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    dialled: dialled.promise,
    async [Symbol.asyncDispose]() {
      (await dialled.promise).destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

const account = { host: '127.0.0.1', domain: 'x', token: 't', username: 'u', password: 'p' };

test('after the deadline it is unreachable, with a next step', async () => {
  await using server = await silentServer();
  const failed = registerAccount({ ...account, port: server.port, timeoutMs: 100 });
  await expect(failed).rejects.toMatchObject({
    code: 'xmpp.unreachable',
    message: `the server at 127.0.0.1:${server.port} did not answer within 0.1 s`,
    hint: expect.stringContaining('check') as string,
    retry: 'later',
  });
});

test('an interruption stays one', async () => {
  await using server = await silentServer();
  const stop = new AbortController();
  const failed = registerAccount({ ...account, port: server.port, signal: stop.signal });
  await server.dialled;
  stop.abort();
  expect(await failed.catch(errorCode)).toBe('aborted');
});
