/** The cable between QEMU and the switch: dials QEMU's stream socket, cuts what it reads into runs of whole frames, writes runs back. */
import { connect, type Socket } from 'node:net';
import type { Log } from '../base/log.ts';
import type { Port, RunHandler } from '../net/port.ts';
import { createRunCutter } from './runs.ts';

export interface NetdevStats {
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Runs that `send` refused because QEMU does not read, or is not there. */
  readonly drops: number;
  /** Frames of the guest that were too short or too long, and times that the framing itself was broken. */
  readonly refused: number;
  /** Connections beyond the first. */
  readonly redials: number;
}

export interface Netdev extends Port, AsyncDisposable {
  stats(): NetdevStats;
  /** Resolves when QEMU first accepted us. */
  readonly connected: Promise<void>;
}

export interface NetdevOptions {
  readonly name: string;
  /** QEMU's listening socket; it may appear later. */
  readonly path: string;
  readonly mtu: number;
  readonly onRun: RunHandler;
  readonly log: Log;
}

/** One read: larger than the largest frame, so that most reads end in whole frames. */
const READ_BYTES = 128 * 1024;
/**
 * Written but not yet taken by QEMU. The socket of `server=on` blocks on QEMU's side, so a guest that reads slowly must cost
 * us drops and nothing else. At 300 Mbit/s, what an emulated guest takes at most (measured), this is 14 ms of traffic.
 */
const WRITE_AHEAD_BYTES = 512 * 1024;
const FIRST_REDIAL_MS = 10;
const LAST_REDIAL_MS = 500;

export function openNetdev(options: NetdevOptions): Netdev {
  const { name, path, log } = options;
  const closed = Promise.withResolvers<string>();
  const connected = Promise.withResolvers<void>();
  const counts = { sentBytes: 0, receivedBytes: 0, drops: 0, redials: -1 };
  const cutter = createRunCutter(options.mtu, options.onRun);
  let socket: Socket | undefined;
  let live = false;
  let over = false;
  let wait = FIRST_REDIAL_MS;
  let timer: NodeJS.Timeout | undefined;

  // Hot path: one buffer for all reads of a connection; runs are slices of it, valid during the call (net/port.ts).
  const onRead = (bytes: number, buffer: Uint8Array): boolean => {
    counts.receivedBytes += bytes;
    if (!cutter.push(buffer.subarray(0, bytes))) {
      log.warn('guest stream broken', { guest: name, reason: 'bad frame length' });
      socket?.destroy();
    }
    return true; // false would pause: never, QEMU blocks on a socket that nobody reads
  };

  function dial(): void {
    cutter.reset();
    const dialed = connect({ path, onread: { buffer: new Uint8Array(READ_BYTES), callback: onRead } });
    socket = dialed;
    dialed.on('connect', () => {
      live = true;
      wait = FIRST_REDIAL_MS;
      counts.redials++;
      connected.resolve();
    });
    dialed.on('error', () => {}); // 'close' follows
    dialed.on('close', () => {
      live = false;
      if (over) return;
      timer = setTimeout(dial, wait);
      wait = Math.min(wait * 2, LAST_REDIAL_MS);
    });
  }

  dial();
  return {
    name,
    closed: closed.promise,
    connected: connected.promise,
    send(run) {
      if (!live || !socket || socket.writableLength + run.length > WRITE_AHEAD_BYTES) {
        counts.drops++;
        return false;
      }
      // A copy: the caller's slice is gone after this call, and the kernel may not take it all at once.
      socket.write(Buffer.from(run));
      counts.sentBytes += run.length;
      return true;
    },
    stats: () => ({ ...counts, redials: Math.max(0, counts.redials), refused: cutter.refused }),
    async [Symbol.asyncDispose]() {
      if (over) return;
      over = true;
      live = false;
      clearTimeout(timer);
      socket?.destroy();
      closed.resolve('the guest is gone');
    },
  };
}
