/** The direct wire: TLS over loopback, both ends in this process. */
import { silentLog } from '../../../src/base/log.ts';
import { openDirect } from '../../../src/wire/direct.ts';
import { openDirectListener } from '../../../src/wire/direct-listener.ts';
import { wireContract } from '../../contract/wire.ts';
import { signalPair, type SignalPair } from '../../harness/signals.ts';

const listen = () => openDirectListener({ bindAddress: '127.0.0.1', log: silentLog });
const listeners = { a: await listen(), b: await listen() };

const dial = (signals: SignalPair, side: 'a' | 'b', onBatch: (batch: Uint8Array) => void = () => {}) =>
  openDirect({
    listener: listeners[side],
    offer: side === 'a',
    pipe: signals[side].pipe({ peer: side === 'a' ? 'b' : 'a', channel: 'x', offer: side === 'a' }),
    lan: 1,
    onBatch,
    timeoutMs: 20_000,
    log: silentLog,
  });

wireContract('direct', async ([atA, atB]) => {
  const signals = signalPair();
  return Promise.all([dial(signals, 'a', atA), dial(signals, 'b', atB)]);
});
