/** What every port owes to the switch: a port of memory in the unit tests, a port into QEMU in the tests of guests. */
import { describe, expect, test } from 'vitest';
import type { Port, RunHandler } from '../../src/net/port.ts';
import { frame, macOf, runOfFrames } from '../harness/frames.ts';

/** A port, and what stands in for the guest behind it. */
export interface PortUnderTest extends AsyncDisposable {
  readonly port: Port;
  /** Frames that the guest has received, once there are at least `count`. */
  readonly received: (count: number) => Promise<readonly Uint8Array[]>;
  /** The guest sends these bytes. Left out where a port only takes. */
  readonly guestSends?: (bytes: Uint8Array) => void;
  /** The guest goes away. */
  readonly guestLeaves?: () => void;
}

export type OpenPort = (onRun: RunHandler) => Promise<PortUnderTest>;

const frames = Array.from({ length: 50 }, (_, i) =>
  frame({ to: macOf(1), from: macOf(2), text: `${i}`, length: 60 + 29 * i }),
);

export function portContract(name: string, open: OpenPort): void {
  describe(`${name} is a port`, () => {
    test('frames reach the guest whole and in order', async () => {
      await using under = await open(() => {});
      expect(under.port.send(runOfFrames(...frames.slice(0, 10)))).toBe(true);
      for (const one of frames.slice(10)) expect(under.port.send(runOfFrames(one))).toBe(true);
      expect((await under.received(50)).map((f) => Buffer.from(f))).toEqual(frames.map((f) => Buffer.from(f)));
    });

    test('the caller may use its buffer again at once', async () => {
      await using under = await open(() => {});
      const run = runOfFrames(frames[3]!);
      under.port.send(run);
      run.fill(0xee);
      expect((await under.received(1)).map((f) => Buffer.from(f))).toEqual([Buffer.from(frames[3]!)]);
    });

    test('a closed port takes nothing and says why it closed', async () => {
      const under = await open(() => {});
      await under[Symbol.asyncDispose]();
      expect(await under.port.closed).not.toBe('');
      expect(under.port.send(runOfFrames(frames[0]!))).toBe(false);
    });

    test('what the guest sends comes as whole frames, however it is cut', async () => {
      const got = Promise.withResolvers<void>();
      const heard: number[] = [];
      await using under = await open((run) => {
        for (let at = 0; at < run.length; at += 4 + Buffer.from(run).readUInt32BE(at)) {
          heard.push(Buffer.from(run).readUInt32BE(at));
        }
        if (heard.length === frames.length) got.resolve();
      });
      if (!under.guestSends) return;
      const bytes = runOfFrames(...frames);
      for (let at = 0; at < bytes.length; at += 777) under.guestSends(bytes.subarray(at, at + 777));
      await got.promise;
      expect(heard).toEqual(frames.map(({ length }) => length));
    });

    test('a guest that leaves closes the port', async () => {
      await using under = await open(() => {});
      if (!under.guestLeaves) return;
      under.guestLeaves();
      expect(await under.port.closed).not.toBe('');
      expect(under.port.send(runOfFrames(frames[0]!))).toBe(false);
    });
  });
}
