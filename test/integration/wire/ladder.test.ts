/** A link between two peers over a real server: it climbs, survives the loss of its wire, comes down when it is told, and what flows over it goes on. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { silentLog } from '../../../src/base/log.ts';
import { openFabric, type Fabric, type Notary } from '../../../src/job/fabric.ts';
import type { Wire } from '../../../src/net/wire.ts';
import { createWires } from '../../../src/peer/wires.ts';
import type { LinkRung } from '../../../src/protocol/messages.ts';
import type { Plan } from '../../../src/protocol/plan.ts';
import { areBytesSignedBy, signBytes } from '../../../src/trust/signed.ts';
import { openDirectListener } from '../../../src/wire/direct-listener.ts';
import { createSignalRouter, type SignalRouter } from '../../../src/wire/signaling.ts';
import { openFrameChannel } from '../../../src/xmpp/frames.ts';
import { openMailbox } from '../../../src/xmpp/mailbox.ts';
import { newDevice } from '../../harness/circle.ts';
import { planOf, jidOf } from '../../harness/fabric.ts';
import { frame, runOfFrames, textOf } from '../../harness/frames.ts';
import { createMemoryPort, type MemoryPort } from '../../harness/memory-port.ts';
import { plainCipher, plainSeals } from '../../harness/plain-trust.ts';
import { startTestServer, type TestServer } from '../../harness/prosody.ts';
import { soon } from '../../harness/xmpp.ts';

let prosody: TestServer;
beforeAll(async () => {
  prosody = await startTestServer();
});
afterAll(() => prosody[Symbol.asyncDispose]());

const PLAN = planOf('mesh', [1, 2]);

interface End extends AsyncDisposable {
  readonly fabric: Fabric;
  readonly port: MemoryPort;
  /** The wires that it has open now. */
  readonly wires: ReadonlySet<Wire>;
}

/** Both ends of the one link of a LAN of two. */
async function openPair(): Promise<readonly [End, End]> {
  const sessions = [await prosody.open('anna'), await prosody.open('ben')] as const;
  const text = JSON.stringify(PLAN);
  const plan = JSON.parse(text.replaceAll(jidOf(1), sessions[0].jid).replaceAll(jidOf(2), sessions[1].jid)) as Plan;
  const devices = [newDevice(), newDevice()] as const;
  const open = async (side: 0 | 1): Promise<End> => {
    const session = sessions[side];
    const stack = new AsyncDisposableStack();
    const mailbox = openMailbox({ session, seals: plainSeals, log: silentLog });
    const router: SignalRouter = createSignalRouter({
      send: async (to, body) => void (await mailbox.request(to, { kind: 'signal', ...body })),
      log: silentLog,
    });
    stack.defer(
      mailbox.serve(async (from, request) => {
        if (request.kind === 'signal') router.dispatch(from, request.channel, request.session, request.data);
        return {};
      }),
    );
    const bindAddress = '127.0.0.1';
    const listener = stack.use(await openDirectListener({ bindAddress, log: silentLog }));
    const frames = stack.use(openFrameChannel({ session, cipher: plainCipher() }));
    const openWire = createWires({ router, frames, listener, bindAddress, iceServers: async () => [], log: silentLog });
    const wires = new Set<Wire>();
    const notary: Notary = {
      sign: (bytes) => signBytes(devices[side], 'note', bytes),
      verify: (peer, bytes, signature) =>
        areBytesSignedBy(devices[peer === sessions[0].jid ? 0 : 1].key, 'note', bytes, signature),
    };
    const fabric = stack.use(
      openFabric(plan, side + 1, {
        async openWire(request) {
          const wire = await openWire(request);
          wires.add(wire);
          void wire.closed.then(() => wires.delete(wire));
          return wire;
        },
        notary,
        clock: systemClock,
        log: silentLog,
        onChange: () => {},
      }),
    );
    const port = createMemoryPort();
    fabric.attachPort(port);
    return { fabric, port, wires, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  };
  return [await open(0), await open(1)];
}

const rungOf = ({ fabric }: End) => fabric.links()[0]?.wire;
const onRung = (ends: readonly End[], rung: string) =>
  vi.waitFor(() => expect(ends.map(rungOf)).toEqual([rung, rung]), soon);

/** Numbered frames and their acknowledgements, each repeated until it is acknowledged, as TCP does. */
function startFlow([from, to]: readonly [End, End]) {
  const mac = (end: 0 | 1) => PLAN.lan.slots[end]!.mac;
  const ask = (text: string) => from.fabric.fromPort(runOfFrames(frame({ to: mac(1), from: mac(0), text })));
  const answer = (text: string) => to.fabric.fromPort(runOfFrames(frame({ to: mac(0), from: mac(1), text })));
  const WINDOW = 8;
  const REPEAT_MS = 300;
  let next = 0;
  let tries = 0;
  let heard = 0;
  let acknowledged = 0;
  const open = new Map<number, number>();
  const timer = setInterval(() => {
    for (const text of to.port.frames.slice(heard).map(textOf)) answer(`ack ${text.split(' ')[0]}`);
    heard = to.port.frames.length;
    for (const text of from.port.frames.slice(acknowledged).map(textOf)) open.delete(Number(text.split(' ')[1]));
    acknowledged = from.port.frames.length;
    const now = performance.now();
    while (open.size < WINDOW) open.set(next++, 0);
    for (const [number, at] of open) {
      if (now - at < REPEAT_MS) continue;
      open.set(number, now);
      ask(`${number} ${tries++}`);
    }
  }, 5);
  return {
    /** How many numbers have arrived and were acknowledged, in one piece from the first. */
    get done() {
      return Math.min(...open.keys(), next);
    },
    /** Each sending of a number, as it arrived. */
    arrived: () => to.port.frames.map(textOf),
    [Symbol.dispose]: () => clearInterval(timer),
  };
}

test('a flow goes on from rung to rung, and over the loss of each wire', async () => {
  const ends = await openPair();
  await using _ = ends[0];
  await using __ = ends[1];
  const allow = (...wires: LinkRung[]) => ends[0].fabric.setLink(2, { wires });
  allow('stanza');
  await onRung(ends, 'stanza');
  using flow = startFlow(ends);
  const more = async (count: number) => {
    const before = flow.done;
    await vi.waitFor(() => expect(flow.done).toBeGreaterThan(before + count), soon);
  };
  await more(20);
  allow('webrtc', 'stanza');
  await onRung(ends, 'webrtc');
  await more(50);
  allow('direct', 'webrtc', 'stanza');
  await onRung(ends, 'direct');
  await more(50);

  const [direct] = [...ends[1].wires].filter(({ rung }) => rung === 'direct');
  await direct![Symbol.asyncDispose]();
  await more(20);
  await onRung(ends, 'direct');

  allow('webrtc', 'stanza');
  await onRung(ends, 'webrtc');
  await more(20);
  allow('stanza');
  await onRung(ends, 'stanza');
  await more(10);
  await vi.waitFor(() => expect([...ends[0].wires].map(({ rung }) => rung)).toEqual(['stanza']), soon);
  expect(ends[0].fabric.links()[0]?.reasons).toEqual({
    direct: 'not allowed by the job',
    webrtc: 'not allowed by the job',
  });

  const arrived = flow.arrived();
  expect(new Set(arrived).size).toBe(arrived.length);
}, 180_000);
