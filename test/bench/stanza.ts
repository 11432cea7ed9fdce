/** A shell beside a download through a stock Prosody (10 kB/s): `node test/bench/stanza.ts [seconds] [bytes of a bulk batch]`. Round trips of keystrokes, goodput of bulk. */
import { silentLog } from '../../src/base/log.ts';
import { openStanza } from '../../src/wire/stanza.ts';
import { openFrameChannel } from '../../src/xmpp/frames.ts';
import { plainCipher } from '../harness/plain-trust.ts';
import { startTestServer } from '../harness/prosody.ts';

const [seconds = 60, bulkBytes = 1534] = process.argv.slice(2).map(Number);
const KEYSTROKE_BYTES = 130;
const KEYSTROKE_MS = 400;
/** Twice what gets through, as a download offers it until it has noticed. */
const OFFERED_BYTES_PER_MS = 13;

await using prosody = await startTestServer({ bytesPerSecond: 'stock' });
await using sender = await prosody.open('sender');
await using receiver = await prosody.open('receiver');
using out = openFrameChannel({ cipher: plainCipher(), session: sender });
using back = openFrameChannel({ cipher: plainCipher(), session: receiver });

const common = { link: 'bench', log: silentLog };
const trips: number[] = [];
const typed = new Map<number, number>();
let bulk = 0;
const near = openStanza({
  ...common,
  peer: receiver.jid,
  channel: out,
  onBatch(batch) {
    const at = typed.get(Buffer.from(batch).readUInt32BE(20));
    if (at !== undefined) trips.push(performance.now() - at);
  },
});
const far = openStanza({
  ...common,
  peer: sender.jid,
  channel: back,
  onBatch(batch) {
    if (batch.length === KEYSTROKE_BYTES) far.send(batch);
    else bulk += batch.length;
  },
});

const start = performance.now();
let offered = 0;
let count = 0;
const download = setInterval(() => {
  for (; offered < (performance.now() - start) * OFFERED_BYTES_PER_MS; offered += bulkBytes) {
    near.send(new Uint8Array(bulkBytes));
  }
}, 20);
const typing = setInterval(() => {
  const key = Buffer.alloc(KEYSTROKE_BYTES);
  key.writeUInt32BE(++count, 20);
  typed.set(count, performance.now());
  near.send(key);
}, KEYSTROKE_MS);
await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
clearInterval(download);
clearInterval(typing);

trips.sort((a, b) => a - b);
const percentile = (share: number) => `${Math.round(trips[Math.floor(trips.length * share)] ?? Number.NaN)} ms`;
process.stdout.write(
  `${trips.length} of ${count} keystrokes came back: p50 ${percentile(0.5)}, p90 ${percentile(0.9)}, p99 ${percentile(0.99)}; ` +
    `bulk ${(bulk / seconds / 1000).toFixed(1)} kB/s\n`,
);
await near[Symbol.asyncDispose]();
await far[Symbol.asyncDispose]();
