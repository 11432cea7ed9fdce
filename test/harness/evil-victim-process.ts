/** A whole peer in a process of its own, so that its memory is its own: `evil-victim-process.ts <options as JSON>`. */
import { silentLog } from '../../src/base/log.ts';
import type { PeerOptions } from '../../src/peer/options.ts';
import { openPeer } from '../../src/peer/peer.ts';

const options = JSON.parse(process.argv[2] ?? '') as PeerOptions;
const stop = new AbortController();
const peer = await openPeer({
  ...options,
  trust: { save: async () => {} },
  prompt: undefined,
  log: silentLog,
  signal: stop.signal,
  onDown: () => {},
});

process.on('message', (question: 'memory' | 'end') => {
  if (question === 'end') return void peer[Symbol.asyncDispose]().then(() => process.exit(0));
  globalThis.gc?.();
  process.send?.({ residentMiB: process.memoryUsage.rss() / 2 ** 20, guests: peer.worker.inUse.guests });
});
process.on('disconnect', () => process.exit(1));
process.send?.({ jid: peer.self });
