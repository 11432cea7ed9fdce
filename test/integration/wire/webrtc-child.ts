/** A process of its own for webrtc.test.ts: opens wires, and must end by itself. */
import { createInterface } from 'node:readline';
import { silentLog } from '../../../src/base/log.ts';
import { openBlob } from '../../../src/wire/blob.ts';
import { createSignalRouter, type Signal } from '../../../src/wire/signaling.ts';
import { openWebrtc } from '../../../src/wire/webrtc.ts';
import { signalPair } from '../../harness/signals.ts';

const common = { bindAddress: '127.0.0.1', log: silentLog };
const mode = process.argv[2];

if (mode === 'peer') await answer();
else await alone();

async function alone(): Promise<void> {
  const signals = signalPair();
  const pipes = {
    a: signals.a.pipe({ peer: 'b', channel: 'x', offer: true }),
    b: signals.b.pipe({ peer: 'a', channel: 'x', offer: false }),
  };
  if (mode === 'timeout') {
    await openWebrtc({ ...common, offer: false, pipe: pipes.b, onBatch: () => {}, timeoutMs: 100 }).catch(() => {});
  } else if (mode === 'blob') {
    const [a, b] = await Promise.all([
      openBlob({ ...common, offer: true, pipe: pipes.a }),
      openBlob({ ...common, offer: false, pipe: pipes.b }),
    ]);
    await a.send(new Uint8Array(100_000));
    await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose]()]);
  } else {
    const [a, b] = await Promise.all([
      openWebrtc({ ...common, offer: true, pipe: pipes.a, onBatch: () => {} }),
      openWebrtc({ ...common, offer: false, pipe: pipes.b, onBatch: () => {} }),
    ]);
    for (let i = 0; i < 20; i++) a.send(new Uint8Array(60_000));
    if (mode === 'exit') {
      process.stdout.write('exit done\n', () => process.exit(3));
      return;
    }
    await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose]()]);
  }
  // A timer that is left would keep the process alive for a while.
  const left = process.getActiveResourcesInfo().filter((name) => name === 'Timeout');
  // After a blob as kith itself ends: on an overloaded machine some of hundreds of processes stayed, with all promises kept, no active resource
  // and nothing that a garbage collection frees. Perhaps the library loses a native "closed", whose thread-safe function then holds the loop.
  process.stdout.write(`${[mode, 'done', ...left].join(' ')}\n`, () => {
    if (mode === 'blob') process.exit();
  });
}

/** Signals are lines of JSON on stdin and stdout. Sends back each batch. */
async function answer(): Promise<void> {
  const router = createSignalRouter({
    log: silentLog,
    send: async (_, signal) => void process.stdout.write(`${JSON.stringify(signal)}\n`),
  });
  createInterface({ input: process.stdin }).on('line', (line) => {
    const { channel, session, data } = JSON.parse(line) as Signal;
    router.dispatch('a', channel, session, data);
  });
  const opening = openWebrtc({
    ...common,
    offer: false,
    pipe: router.pipe({ peer: 'a', channel: 'x', offer: false }),
    // The first batch may be here before openWebrtc has returned.
    onBatch: (batch) => void opening.then((wire) => wire.send(batch)),
  });
  await (
    await opening
  ).closed;
}
