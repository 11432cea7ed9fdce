/** One end of our overlay: a peer's data plane and nothing else. Started by kith.ts, which passes the signals of the two. */
import { systemClock } from '../../../src/base/clock.ts';
import { describeError } from '../../../src/base/errors.ts';
import { openRunDirectory, type RunDirectory } from '../../../src/base/guard.ts';
import { silentLog } from '../../../src/base/log.ts';
import { openAdapter } from '../../../src/guest/adapter.ts';
import { bootGuest, type RunningGuest } from '../../../src/guest/guest.ts';
import type { DirectoryEntry } from '../../../src/net/directory.ts';
import type { Port, Run } from '../../../src/net/port.ts';
import { createSwitch, type Switch } from '../../../src/net/switch.ts';
import type { BatchHandler, Wire } from '../../../src/net/wire.ts';
import { openDirectListener } from '../../../src/wire/direct-listener.ts';
import { openDirect } from '../../../src/wire/direct.ts';
import type { SignalPipe } from '../../../src/wire/signaling.ts';
import { openWebrtc } from '../../../src/wire/webrtc.ts';
import type { GuestOrder } from './guests.ts';
import { UNDERLAY, type Side } from './site.ts';

export interface EndOptions {
  readonly side: Side;
  /** `none`: both taps on one switch. */
  readonly rung: 'direct' | 'webrtc' | 'none';
  readonly folder: string;
  readonly device: string;
  readonly mtu: number;
  /** The program of each adapter. */
  readonly qemus: readonly string[];
  readonly places: readonly DirectoryEntry[];
  /** In place of a tap. */
  readonly guest?: GuestOrder;
}

export type EndMessage =
  | { readonly kind: 'open'; readonly options: EndOptions }
  | { readonly kind: 'signal'; readonly data: unknown }
  | { readonly kind: 'exec'; readonly line: string; readonly timeoutMs: number };
export type EndReply =
  | { readonly kind: 'ready' }
  | { readonly kind: 'signal'; readonly data: unknown }
  | { readonly kind: 'output'; readonly text: string }
  | { readonly kind: 'failed'; readonly reason: string };

const LAN = 1;
const log = silentLog;
let guest: RunningGuest | undefined;

const reply = (message: EndReply): void => void process.send?.(message);

/** Signals go through the parent; what comes before anybody listens waits. */
function parentPipe(): SignalPipe {
  const early: unknown[] = [];
  let handler: ((data: unknown) => void) | undefined;
  process.on('message', (message: EndMessage) => {
    if (message.kind !== 'signal') return;
    if (handler) handler(message.data);
    else early.push(message.data);
  });
  return {
    send: async (data) => reply({ kind: 'signal', data }),
    onData(given) {
      handler = given;
      for (const data of early.splice(0)) given(data);
      return () => {
        handler = undefined;
      };
    },
  };
}

const pipe = parentPipe();

async function open(options: EndOptions): Promise<void> {
  const { side, rung, folder, mtu, places, qemus } = options;
  const run = await openRunDirectory(folder, `${side}-`);
  process.once('SIGTERM', () => void run[Symbol.asyncDispose]().then(() => process.exit(0)));
  const alone = rung === 'none';
  const node = side === 'a' ? 1 : 2;
  const other = 3 - node;
  const sw = createSwitch({
    node,
    lan: LAN,
    clock: systemClock,
    mtu,
    // One peer has one guest on a LAN. With two on its switch the second address is taken for a forgery: it is looked at all the same.
    ...(alone ? { without: new Set(['forged', 'stolen-address', 'false-neighbour'] as const) } : {}),
  });
  sw.setGraph({
    epoch: 1,
    edges: alone ? [] : [[1, 2]],
    links: alone ? [] : [other],
    directory: alone ? places.map((place) => ({ ...place, node })) : places,
    server: 1,
  });
  if (!alone) {
    const wire = await openWire(rung, side, (batch) => sw.fromWire(other, batch));
    sw.attachWire(other, wire);
    void wire.closed.then((why) => reply({ kind: 'failed', reason: `the wire ended: ${why}` }));
  }
  if (options.guest) await boot(sw, run, options, options.guest);
  else for (const qemu of qemus) await plug(sw, run, options, qemu);
  reply({ kind: 'ready' });
}

async function openWire(rung: 'direct' | 'webrtc', side: Side, onBatch: BatchHandler): Promise<Wire> {
  const common = { offer: side === 'a', pipe, onBatch, log };
  const bindAddress = UNDERLAY[side];
  if (rung === 'webrtc') return openWebrtc({ ...common, bindAddress });
  return openDirect({ ...common, lan: LAN, listener: await openDirectListener({ bindAddress, log }) });
}

async function plug(sw: Switch, run: RunDirectory, { device, mtu }: EndOptions, qemu: string): Promise<void> {
  let own: Port | undefined;
  const onRun = (frames: Run, headroom?: number): void => sw.fromPort(frames, headroom, own);
  const backend = { kind: 'tap', ifname: device } as const;
  const adapter = await openAdapter({ name: device, qemu, backend, mtu, run, onRun, log });
  own = adapter.port;
  sw.attachPort(own);
  void adapter.exited.then((why) => reply({ kind: 'failed', reason: `QEMU ended: ${why}` }));
}

async function boot(
  sw: Switch,
  run: RunDirectory,
  { side, mtu, places }: EndOptions,
  order: GuestOrder,
): Promise<void> {
  const slots = places.map(({ node, mac, address }) => ({ name: node === 1 ? 'master' : 'worker-1', mac, address }));
  const [own, subnet] = [slots[side === 'a' ? 0 : 1], slots[0]];
  if (!own || !subnet) throw new Error('there is no place for a guest');
  const master = side === 'a';
  guest = await bootGuest({
    name: own.name,
    image: order.image,
    memoryMiB: order.image.manifest.memoryMiB.default,
    cpus: 1,
    config: {
      role: master ? 'master' : 'worker',
      hostname: own.name,
      mac: own.mac,
      address: own.address,
      subnet: subnet.address.replace(/\d+$/, '0/24'),
      mtu,
      slots,
      masterKey: order.masterKey,
      masterPrivateKey: master ? order.masterPrivateKey : undefined,
    },
    run,
    host: order.host,
    onRun: (frames, headroom) => sw.fromPort(frames, headroom),
    log,
  });
  sw.attachPort(guest.port);
}

async function exec(line: string, timeoutMs: number): Promise<void> {
  if (!guest) throw new Error('this end has no guest');
  const { exitCode, stdout, stderr } = await guest.exec(['sh', '-c', line], { timeoutMs });
  if (exitCode !== 0) throw new Error(`${line}: exit code ${exitCode}: ${stderr.toString()}${stdout.toString()}`);
  reply({ kind: 'output', text: stdout.toString() });
}

process.on('message', (message: EndMessage) => {
  const work =
    message.kind === 'open'
      ? open(message.options)
      : message.kind === 'exec'
        ? exec(message.line, message.timeoutMs)
        : undefined;
  work?.catch((error: unknown) => reply({ kind: 'failed', reason: describeError(error) }));
});
process.once('disconnect', () => process.exit(0));
