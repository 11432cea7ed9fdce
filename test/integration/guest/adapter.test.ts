/** A real QEMU without a machine: a port of ours, and behind it QEMU's own little network. */
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { openRunDirectory } from '../../../src/base/guard.ts';
import { silentLog as log } from '../../../src/base/log.ts';
import { findProgram } from '../../../src/base/process.ts';
import { openAdapter } from '../../../src/guest/adapter.ts';
import { frames } from '../../../src/net/batch.ts';
import { runOfFrames } from '../../harness/frames.ts';
import { arp, ethernet, ETHERTYPE } from '../../harness/packets.ts';

const OURS = '02:6b:00:00:00:01';
/** The gateway of QEMU's user-mode network (QEMU manual, "Network emulation"). */
const GATEWAY = '10.0.2.2';

test('who asks through the port for the address of the NAT is answered by it', async () => {
  await using run = await openRunDirectory(tmpdir(), 'kith-adapter-');
  const answered = Promise.withResolvers<Uint8Array>();
  await using adapter = await openAdapter({
    name: 'way out',
    qemu: findProgram('qemu-system-x86_64') ?? 'qemu-system-x86_64',
    backend: { kind: 'user' },
    mtu: 1500,
    run,
    onRun(received) {
      // QEMU announces itself by IPv6 now and then; the answer is the ARP frame that is for us.
      for (const frame of frames(received))
        if (frame[12] === 0x08 && frame[13] === 0x06 && frame[21] === 2) answered.resolve(frame.slice());
    },
    log,
  });
  void adapter.exited.then((why) => answered.reject(new Error(`QEMU ended: ${why}`)));
  const question = ethernet({ from: OURS, type: ETHERTYPE.arp }, arp(1, OURS, '10.0.2.15', GATEWAY));
  expect(adapter.port.send(runOfFrames(question))).toBe(true);
  const answer = await answered.promise;
  expect([...answer.subarray(28, 32)].join('.')).toBe(GATEWAY);

  const { pid } = adapter;
  await adapter[Symbol.asyncDispose]();
  expect(await adapter.exited).toBe('stopped');
  expect(existsSync(`/proc/${pid}`)).toBe(false);
  expect(await adapter.port.closed).not.toBe('');
});

test('a backend that QEMU refuses is told in its own words', async () => {
  await using run = await openRunDirectory(tmpdir(), 'kith-adapter-');
  const opening = openAdapter({
    name: 'no switch',
    qemu: findProgram('qemu-system-x86_64') ?? 'qemu-system-x86_64',
    backend: { kind: 'bridge', name: 'no-such-bridge' },
    mtu: 1500,
    run,
    onRun: () => {},
    log,
  });
  await expect(opening).rejects.toMatchObject({
    code: 'guest.qemu-exited',
    message: expect.stringContaining('bridge'),
  });
});
