/** The cable to QEMU, with a plain server in QEMU's place. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { openNetdev, type Netdev } from '../../../src/guest/netdev.ts';

const framed = (length: number, fill: number): Buffer => {
  const frame = Buffer.alloc(4 + length, fill);
  frame.writeUInt32BE(length);
  return frame;
};

let folder: string;
let path: string;
let server: Server;
let netdev: Netdev;
let runs: Buffer[];
let arrived: () => void;

const accept = async (): Promise<Socket> => {
  const [socket] = (await once(server, 'connection')) as [Socket];
  socket.on('error', () => {});
  return socket;
};
const nextRun = (): Promise<void> => new Promise((resolve) => (arrived = resolve));

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-net-'));
  path = join(folder, 'n');
  runs = [];
  arrived = () => {};
  server = createServer();
  netdev = openNetdev({
    name: 'g',
    path,
    mtu: 1500,
    log: silentLog,
    onRun: (run) => {
      runs.push(Buffer.from(run));
      arrived();
    },
  });
});
afterEach(async () => {
  await netdev[Symbol.asyncDispose]();
  server.close();
  await rm(folder, { recursive: true, force: true });
});

describe('the cable to a guest', () => {
  it('drops what is sent before QEMU is there, and dials until it is', async () => {
    expect(netdev.send(framed(60, 1))).toBe(false);
    expect(netdev.stats().drops).toBe(1);
    server.listen(path);
    const guest = await accept();
    await netdev.connected;
    const came = once(guest, 'data');
    expect(netdev.send(framed(60, 2))).toBe(true);
    expect(await came).toEqual([framed(60, 2)]);
    const run = nextRun();
    guest.write(framed(70, 3));
    await run;
    expect(runs).toEqual([framed(70, 3)]);
    expect(netdev.stats()).toEqual({ sentBytes: 64, receivedBytes: 74, drops: 1, redials: 0, refused: 0 });
    guest.destroy();
  });

  it('copies what it sends: the caller may use its buffer again at once', async () => {
    server.listen(path);
    const guest = await accept();
    await netdev.connected;
    guest.pause();
    const sent: Buffer[] = [];
    for (let fill = 0; fill < 200; fill++) {
      const run = Buffer.from(framed(1500, fill));
      sent.push(Buffer.from(run));
      expect(netdev.send(run)).toBe(true);
      run.fill(0xff);
    }
    const expected = Buffer.concat(sent);
    let got = Buffer.alloc(0);
    guest.resume();
    for await (const chunk of guest as AsyncIterable<Buffer>) {
      got = Buffer.concat([got, chunk]);
      if (got.length >= expected.length) break;
    }
    expect(got.equals(expected)).toBe(true);
  });

  it('bounds what a guest that reads nothing can cost, and counts the drops', async () => {
    server.listen(path);
    const guest = await accept();
    await netdev.connected;
    guest.pause();
    let refused = 0;
    for (let count = 0; count < 3000; count++) if (!netdev.send(framed(1500, 1))) refused++;
    expect(refused).toBeGreaterThan(1000);
    expect(netdev.stats().drops).toBe(refused);
    guest.destroy();
  });

  it('dials again after a broken frame length, and carries on', async () => {
    server.listen(path);
    const first = await accept();
    await netdev.connected;
    const again = accept();
    first.write(Buffer.from([0, 0, 0, 0]));
    const second = await again;
    const run = nextRun();
    second.write(framed(64, 9));
    await run;
    expect(runs).toEqual([framed(64, 9)]);
    expect(netdev.stats()).toMatchObject({ refused: 1, redials: 1 });
    second.destroy();
  });

  it('ends for good when it is disposed', async () => {
    server.listen(path);
    const guest = await accept();
    await netdev.connected;
    const over = once(guest, 'close');
    await netdev[Symbol.asyncDispose]();
    await over;
    expect(await netdev.closed).toBe('the guest is gone');
    expect(netdev.send(framed(60, 1))).toBe(false);
  });
});
