/** The cable to QEMU, with a plain server in QEMU's place. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { openNetdev, type Netdev } from '../../../src/guest/netdev.ts';
import { frames } from '../../../src/net/batch.ts';
import { portContract } from '../../contract/port.ts';

const framed = (length: number, fill: number): Buffer => {
  const frame = Buffer.alloc(4 + length, fill);
  frame.writeUInt32BE(length);
  return frame;
};

let folder: string;
/** QEMU's end. */
let guest: Socket;
let netdev: Netdev;
let runs: Buffer[];
let arrived: () => void;

const nextRun = (): Promise<void> => new Promise((resolve) => (arrived = resolve));

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kith-net-'));
  const path = join(folder, 'n');
  runs = [];
  arrived = () => {};
  await using server = createServer();
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  server.listen(path);
  guest = connect(path);
  guest.on('error', () => {});
  const [socket] = await accepted;
  server.close();
  netdev = openNetdev({
    name: 'g',
    socket,
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
  guest.destroy();
  await rm(folder, { recursive: true, force: true });
});

describe('the cable to a guest', () => {
  it('carries runs both ways, and counts them', async () => {
    const came = once(guest, 'data');
    expect(netdev.send(framed(60, 2))).toBe(true);
    expect(await came).toEqual([framed(60, 2)]);
    const run = nextRun();
    guest.write(framed(70, 3));
    await run;
    expect(runs).toEqual([framed(70, 3)]);
    expect(netdev.stats()).toEqual({ sentBytes: 64, receivedBytes: 74, drops: 0, refused: 0 });
  });

  it('copies what it sends: the caller may use its buffer again at once', async () => {
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

  it('keeps what the guest has not taken yet, also when it falls behind and catches up again and again', async () => {
    const sent: Buffer[] = [];
    let got = 0;
    const all: Buffer[] = [];
    guest.on('data', (chunk: Buffer) => {
      all.push(chunk);
      got += chunk.length;
    });
    const reached = async (count: number): Promise<void> => {
      if (got >= count) return;
      await once(guest, 'data');
      await reached(count);
    };
    for (let round = 0; round < 12; round++) {
      guest.pause();
      for (let i = 0; i < 12; i++) {
        const run = framed(1000 + (((round * 12 + i) * 7919) % 50_000), round * 12 + i);
        const copy = Buffer.from(run);
        if (netdev.send(run)) sent.push(copy);
        run.fill(0xff);
      }
      guest.resume();
      const due = sent.reduce((sum, { length }) => sum + length, 0) - round * 40_000;
      await reached(due);
    }
    const expected = Buffer.concat(sent);
    await reached(expected.length);
    expect(Buffer.concat(all).equals(expected)).toBe(true);
    expect(expected.length).toBeGreaterThan(2_000_000);
  });

  it('bounds what a guest that reads nothing can cost, and counts the drops', async () => {
    guest.pause();
    let refused = 0;
    for (let count = 0; count < 3000; count++) if (!netdev.send(framed(1500, 1))) refused++;
    expect(refused).toBeGreaterThan(1000);
    expect(netdev.stats().drops).toBe(refused);
  });

  it('is cut by a broken frame length: nothing after it can be trusted', async () => {
    const over = once(guest, 'close');
    guest.write(Buffer.concat([framed(64, 1), Buffer.from([0, 0, 0, 0])]));
    guest.resume();
    await over;
    expect(await netdev.closed).toBe('the guest broke its stream');
    expect(runs).toEqual([framed(64, 1)]);
    expect(netdev.send(framed(60, 1))).toBe(false);
    expect(netdev.stats()).toMatchObject({ refused: 1, drops: 1 });
  });

  it('ends when QEMU does', async () => {
    guest.destroy();
    expect(await netdev.closed).toBe('the guest is gone');
    expect(netdev.send(framed(60, 1))).toBe(false);
  });

  it('ends for good when it is disposed', async () => {
    const over = once(guest, 'close');
    guest.resume();
    await netdev[Symbol.asyncDispose]();
    await over;
    expect(await netdev.closed).toBe('the guest is gone');
    expect(netdev.send(framed(60, 1))).toBe(false);
  });
});

portContract('the cable to a guest', async (onRun) => {
  const home = await mkdtemp(join(tmpdir(), 'kith-net-'));
  await using server = createServer();
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  server.listen(join(home, 'n'));
  const far = connect(join(home, 'n'));
  far.on('error', () => {});
  const [socket] = await accepted;
  server.close();
  const port = openNetdev({ name: 'g', socket, mtu: 1500, log: silentLog, onRun });
  let got = Buffer.alloc(0);
  far.on('data', (chunk: Buffer) => (got = Buffer.concat([got, chunk])));
  const received = async (count: number): Promise<readonly Uint8Array[]> => {
    const whole = [...frames(got)];
    if (whole.length >= count) return whole;
    await once(far, 'data');
    return received(count);
  };
  return {
    port,
    received,
    guestSends: (bytes) => void far.write(bytes.slice()),
    guestLeaves: () => far.destroy(),
    async [Symbol.asyncDispose]() {
      await port[Symbol.asyncDispose]();
      far.destroy();
      await rm(home, { recursive: true, force: true });
    },
  };
});
