/**
 * What a message costs: signature and checks, secrecy, and what a frame through the server costs. Medians of rounds in one process.
 *
 *   node test/bench/envelope.ts [rounds, default 2000]
 */
import { createBoxKey, openBox, sealBox, shareSecret, receiveSecret } from '../../src/trust/box.ts';
import { ENVELOPE_CHECKS, firstRefusal } from '../../src/trust/checks.ts';
import { CounterWindow } from '../../src/trust/counters.ts';
import { boxInfo, idOf, readEnvelope, signEnvelope } from '../../src/trust/envelope.ts';
import { createFrameCipher, type SealedFrames } from '../../src/trust/frames.ts';
import { introduce, newDevice, openParty, ROOM } from '../harness/circle.ts';

const rounds = Number(process.argv[2] ?? 2000);
const text = 'x'.repeat(1024);
const payload = new Uint8Array(1536).fill(7);
const figures = new Map<string, number[]>();

async function time<T>(what: string, task: () => T | Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await task();
  const taken = performance.now() - start;
  const all = figures.get(what);
  if (all) all.push(taken);
  else figures.set(what, [taken]);
  return result;
}

await using anna = await openParty('anna');
await using ben = await openParty('ben');
await introduce(anna, ben);

/** Without the box: what the signature, the schema and the checks cost. */
const annaBox = await createBoxKey();
const benBox = await createBoxKey();
const device = newDevice();
const window = new CounterWindow();
const session = 'A'.repeat(22);
const headOf = (counter: number) => ({
  room: ROOM,
  from: anna.jid,
  fromSession: session,
  to: ben.jid,
  toSession: session,
  purpose: 'lease.request',
  time: Date.now(),
  counter,
});
const filled = await sealBox(benBox.key, boxInfo(headOf(0), device.key), text);
// Kinds of work one after the other: threads of the one would disturb the other.
for (let counter = 1; counter <= rounds; counter++) {
  const signed = await time('sign', () => signEnvelope(device, { ...headOf(counter), ...filled }));
  await time('read, verify, check', () => {
    const envelope = readEnvelope(signed);
    const refusal = firstRefusal(ENVELOPE_CHECKS, {
      signed,
      envelope,
      from: anna.jid,
      room: ROOM,
      self: { jid: ben.jid, sessions: [session] },
      sender: { device: device.key, sessions: [session] },
      banned: false,
      now: Date.now(),
      re: undefined,
      freshCounter: window.fresh(counter),
    });
    if (refusal) throw new Error(refusal.why);
    window.take(counter);
    idOf(signed);
  });
}
for (let counter = 1; counter <= rounds; counter++) {
  const info = boxInfo(headOf(counter), device.key);
  const sealed = await time('seal: HPKE, 1 KiB', () => sealBox(benBox.key, info, text));
  await time('open: HPKE, 1 KiB', () => openBox(benBox, info, sealed));
}
for (let round = 0; round < rounds; round++) {
  const whole = await time('circle.seal', () => anna.circle.seal(ben.jid, 'lease.request', text));
  await time('circle.open', () => ben.circle.open(anna.jid, whole.signed));
}

for (let round = 0; round < Math.min(rounds, 500); round++) {
  const shared = await time('key of a link: make', () => shareSecret(annaBox, benBox.key, `link ${round}`));
  await time('key of a link: derive', () => receiveSecret(benBox, annaBox.key, `link ${round}`, shared.enc));
}

const cipherOf = (self: string, own: typeof annaBox, other: typeof annaBox) =>
  createFrameCipher({ room: ROOM, self: () => self, ownKey: () => own, keyOf: () => other.key });
const [sender, receiver] = [cipherOf(anna.jid, annaBox, benBox), cipherOf(ben.jid, benBox, annaBox)];
const ready = Promise.withResolvers<void>();
sender.onReady(() => ready.resolve());
sender.seal(ben.jid, 'link', payload);
await ready.promise;
const first = Promise.withResolvers<void>();
receiver.open(anna.jid, 'link', sender.seal(ben.jid, 'link', payload)!, () => first.resolve());
await first.promise;
for (let round = 0; round < rounds; round++) {
  let sealed: SealedFrames | undefined;
  await time('frames: seal 1.5 KiB', () => void (sealed = sender.seal(ben.jid, 'link', payload)));
  await time('frames: open 1.5 KiB', () => receiver.open(anna.jid, 'link', sealed!, () => {}));
}

/** The tenth that nothing else on the machine disturbed, and the middle. */
const at = (what: string, part: number): number => {
  const sorted = figures.get(what)!.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length * part)]!;
};
const line = (what: string, ...cells: readonly (number | string)[]) =>
  process.stdout.write(
    `${what.padEnd(44)}${cells.map((cell) => (typeof cell === 'string' ? cell : (cell * 1000).toFixed(0)).padStart(10)).join('')}\n`,
  );
line(`${rounds} rounds, microseconds`, 'best 10%', 'median');
for (const what of figures.keys()) line(what, at(what, 0.1), at(what, 0.5));
const both = (part: number) => at('sign', part) + at('read, verify, check', part);
line('sign and verify together (goal: 200)', both(0.1), both(0.5));
