/** The cable between QEMU and the switch: cuts what QEMU's stream socket brings into runs of whole frames, writes runs back. */
import type { Socket } from 'node:net';
import type { Log } from '../base/log.ts';
import type { Port, RunHandler } from '../net/port.ts';
import { createRunCutter } from './runs.ts';

export interface NetdevStats {
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Runs that `send` refused because QEMU does not read, or is gone. */
  readonly drops: number;
  /** Frames of the guest that were too short or too long, and times that the framing itself was broken. */
  readonly refused: number;
}

export interface Netdev extends Port, AsyncDisposable {
  stats(): NetdevStats;
}

export interface NetdevOptions {
  readonly name: string;
  readonly socket: Socket;
  readonly mtu: number;
  readonly onRun: RunHandler;
  readonly log: Log;
}

/**
 * Written but not yet taken by QEMU: a guest that reads slowly must cost us drops and nothing else. At 300 Mbit/s, what an
 * emulated guest takes at most (measured), this is 14 ms of traffic.
 */
const WRITE_AHEAD_BYTES = 512 * 1024;

export function openNetdev({ name, socket, mtu, onRun, log }: NetdevOptions): Netdev {
  const closed = Promise.withResolvers<string>();
  const counts = { sentBytes: 0, receivedBytes: 0, drops: 0 };
  const cutter = createRunCutter(mtu, onRun);
  let live = true;

  const end = (reason: string): void => {
    live = false;
    socket.destroy();
    closed.resolve(reason);
  };
  // Hot path: runs are slices of what was read. Never paused: what the switch cannot take is dropped there.
  socket.on('data', (chunk: Buffer) => {
    counts.receivedBytes += chunk.length;
    if (cutter.push(chunk)) return;
    // Nothing after this can be trusted, and QEMU does not dial again: the guest has no LAN any more.
    log.warn('guest stream broken', { guest: name, reason: 'bad frame length' });
    end('the guest broke its stream');
  });
  socket.on('error', () => {}); // 'close' follows
  for (const event of ['end', 'close']) socket.on(event, () => end('the guest is gone'));

  return {
    name,
    closed: closed.promise,
    send(run) {
      if (!live || socket.writableLength + run.length > WRITE_AHEAD_BYTES) {
        counts.drops++;
        return false;
      }
      // A copy: the caller's slice is gone after this call, and the kernel may not take it all at once.
      socket.write(Buffer.from(run));
      counts.sentBytes += run.length;
      return true;
    },
    stats: () => ({ ...counts, refused: cutter.refused }),
    async [Symbol.asyncDispose]() {
      end('the guest is gone');
    },
  };
}
