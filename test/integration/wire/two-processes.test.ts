/** Two processes and one data channel. A file of its own, because it waits for ICE to notice a death. */
import { expect, test } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { startChild } from '../../../src/base/process.ts';
import type { Signal } from '../../../src/wire/signaling.ts';
import { openWebrtc } from '../../../src/wire/webrtc.ts';
import { createInbox } from '../../harness/inbox.ts';
import { addressesOf, signalPair } from '../../harness/signals.ts';

test('two processes meet on 127.0.0.1 alone; the death of one closes the wire of the other', async () => {
  const child = startChild(process.execPath, [new URL('./webrtc-child.ts', import.meta.url).pathname, 'peer'], {
    stdin: 'pipe',
  });
  const signals = signalPair((signal) => {
    child.stdin?.write(`${JSON.stringify(signal)}\n`);
    return [];
  });
  let text = '';
  child.stdout?.on('data', (data: Buffer) => {
    text += data.toString();
    const lines = text.split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) {
      const { channel, session, data: body } = JSON.parse(line) as Signal;
      signals.a.dispatch('b', channel, session, body);
    }
  });
  const inbox = createInbox();
  const wire = await openWebrtc({
    bindAddress: '127.0.0.1',
    log: silentLog,
    offer: true,
    pipe: signals.a.pipe({ peer: 'b', channel: 'x', offer: true }),
    onBatch: inbox.take,
  });
  wire.send(Uint8Array.of(1, 2, 3));
  const echo = await Promise.race([inbox.until(1), wire.closed]); // the child sends back what it gets
  expect(echo).toEqual([Uint8Array.of(1, 2, 3)]);
  expect(addressesOf(signals)).toEqual(new Set(['127.0.0.1']));
  // ICE consent runs out after 30 s (RFC 7675, 5.1); nothing is faster that a killed process could still do.
  child.kill('SIGKILL');
  await child;
  expect(await wire.closed).not.toBe('closed by us');
}, 150_000);
