/**
 * A cable from the host into a LAN without a guest: QEMU with no machine at all copies frames between one of its own network
 * backends (tap, bridge, VDE, user-mode NAT) and the socket of a port. Nothing native of ours, and whatever QEMU can attach, we can.
 */
import { join } from 'node:path';
import type { RunDirectory } from '../base/guard.ts';
import { shortId } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import type { RunHandler } from '../net/port.ts';
import { quote, SANDBOX } from './arguments.ts';
import { BOX_ENVIRONMENT } from './box.ts';
import { listenOnce } from './channels.ts';
import { whileAlive } from './launch.ts';
import { openNetdev, type Netdev } from './netdev.ts';
import { startQemu } from './process.ts';
import { openQmp } from './qmp.ts';

export type AdapterBackend =
  /** An Ethernet device of the host. Made when it is not there, which takes root; one that is there must belong to the user. */
  | { readonly kind: 'tap'; readonly ifname: string }
  /** A bridge of the host that /etc/qemu/bridge.conf allows (qemu-bridge-helper(8)). */
  | { readonly kind: 'bridge'; readonly name: string }
  /** The socket folder of a vde_switch. */
  | { readonly kind: 'vde'; readonly path: string }
  /** QEMU's own NAT and DHCP: a way out for guests. */
  | { readonly kind: 'user' };

export interface AdapterOptions {
  /** For counters and messages. */
  readonly name: string;
  readonly qemu: string;
  readonly backend: AdapterBackend;
  readonly mtu: number;
  readonly run: RunDirectory;
  /** What the host sends into the LAN. */
  readonly onRun: RunHandler;
  readonly log: Log;
  readonly signal?: AbortSignal;
}

export interface Adapter extends AsyncDisposable {
  readonly port: Netdev;
  readonly pid: number;
  /** Why QEMU ended. Never rejects. */
  readonly exited: Promise<string>;
}

/** Measured: 30 MiB resident, two threads. It has no guest whose memory could grow. */
const RESIDENT_MIB = 128;
const THREADS = 16;

export async function openAdapter(options: AdapterOptions): Promise<Adapter> {
  await using cleanup = new AsyncDisposableStack();
  const { name, qemu, backend, mtu, run, onRun, log, signal } = options;
  signal?.throwIfAborted();
  const [lan, control] = [join(run.path, shortId()), join(run.path, shortId())];
  const net = cleanup.use(await listenOnce(lan));
  const monitor = cleanup.use(await listenOnce(control));
  const args = [
    ...adapterArguments(backend, `server=off,addr.type=unix,addr.path=${quote(lan)}`),
    '-chardev',
    `socket,id=qmp,path=${quote(control)}`,
    '-mon',
    'chardev=qmp,mode=control',
  ];
  const confined = { program: qemu, args, env: BOX_ENVIRONMENT, reports: false };
  const starting = cleanup.use(
    startQemu({ qemu, confined, run, cpus: 1, residentMiB: RESIDENT_MIB, threads: THREADS }),
  );
  const { exited } = starting;
  const alive = <T>(work: Promise<T>): Promise<T> => whileAlive(work, exited, () => starting.stderr(), name);
  const process = await alive(starting.started);
  const [socket, monitorSocket] = await alive(Promise.all([net.accepted, monitor.accepted]));
  const port = cleanup.use(openNetdev({ name, socket, mtu, onRun, log }));
  // It dials us before it opens what the host has. When it answers here, it has.
  process.quitBy(await alive(openQmp(monitorSocket)));
  signal?.throwIfAborted();
  const owned = cleanup.move();
  return { port, pid: process.pid, exited, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function backendOption(backend: AdapterBackend): string {
  switch (backend.kind) {
    case 'tap':
      return `tap,id=host,ifname=${quote(backend.ifname)},script=no,downscript=no`;
    case 'bridge':
      return `bridge,id=host,br=${quote(backend.name)}`;
    case 'vde':
      return `vde,id=host,sock=${quote(backend.path)}`;
    case 'user':
      return 'user,id=host';
  }
}

/** `stream`: the rest of `-netdev stream`, which says whom to dial. */
export function adapterArguments(backend: AdapterBackend, stream: string): string[] {
  // The helper that attaches to a bridge is a program of its own, with more rights than we have.
  const sandbox = backend.kind === 'bridge' ? [] : ['-sandbox', SANDBOX];
  return [
    '-M',
    'none',
    '-no-user-config',
    '-nodefaults',
    '-display',
    'none',
    ...sandbox,
    // Two backends meet only in a hub: a netdev is for a device otherwise.
    '-netdev',
    backendOption(backend),
    '-netdev',
    'hubport,id=a,hubid=0,netdev=host',
    '-netdev',
    `stream,id=lan,${stream}`,
    '-netdev',
    'hubport,id=b,hubid=0,netdev=lan',
  ];
}
