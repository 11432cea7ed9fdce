/** Ours: the product's own switch, port and wires, in one Node process per side, as two peers of a LAN would have them. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../../src/base/process.ts';
import type { EndMessage, EndOptions, EndReply } from './end-process.ts';
import type { Opened, Overlay, Place } from './overlay.ts';
import { failed, namespaceOf, QEMU, SIDES, type Running, type Side, type Site } from './site.ts';

const END = new URL('./end-process.ts', import.meta.url).pathname;
/** A guest boots in 3 s alone under emulation, and not alone in many times that. */
const READY_MS = 120_000;

/** The MAC address of each side's device: the plan of a LAN names them, and the guards let no other in. */
const MACS: Readonly<Record<Side, string>> = { a: '02:6b:00:00:00:01', b: '02:6b:00:00:00:02' };

const link =
  (rung: EndOptions['rung']) =>
  async (place: Place): Promise<Opened> => ({
    running: await startEnds(place.site, (side) => endOptions(place, side, rung)),
    macs: MACS,
  });

export function endOptions(place: Place, side: Side, rung: EndOptions['rung']): EndOptions {
  const { folder, device, mtu, address } = place;
  const places = SIDES.map((at, i) => ({ node: i + 1, mac: MACS[at], address: address[at] }));
  return { side, rung, folder, device, mtu, places, qemus: [QEMU] };
}

/** Both ends, with their link up. Signals go through us. */
export async function startEnds(site: Site, options: (side: Side) => EndOptions): Promise<Running[]> {
  const ends = SIDES.map((side) => startEnd(site, side));
  for (const [i, end] of ends.entries()) {
    end.child.on('message', (reply: EndReply) => {
      if (reply.kind === 'signal') tell(ends[1 - i]!, { kind: 'signal', data: reply.data });
    });
  }
  await Promise.all(SIDES.map((side, i) => opened(ends[i]!, options(side))));
  return ends;
}

/** `KITH_BENCH_NODE="--cpu-prof --cpu-prof-dir=/tmp/prof"` looks into the ends. */
function startEnd(site: Site, side: Side): Running {
  const extra = (process.env['KITH_BENCH_NODE'] ?? '').split(' ').filter(Boolean);
  return site.start(side, [process.execPath, ...extra, END], { ipc: true });
}

const tell = (end: Running, message: EndMessage): void => {
  if (end.child.connected) end.child.send(message);
};

/** The first reply that fits. Rejects when the end fails, ends, or is silent. */
function answer<T>(end: Running, timeoutMs: number, fits: (reply: EndReply) => T | undefined): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const refuse = (why: string): void => reject(failed(['an end of the link'], why, end.said()));
  const timer = setTimeout(() => refuse(`no answer in ${timeoutMs / 1000} s`), timeoutMs);
  const listen = (reply: EndReply): void => {
    const found = fits(reply);
    if (found !== undefined) resolve(found);
    else if (reply.kind === 'failed') refuse(reply.reason);
  };
  end.child.on('message', listen);
  void end.exited.then(refuse);
  return promise.finally(() => {
    clearTimeout(timer);
    end.child.off('message', listen);
  });
}

async function opened(end: Running, options: EndOptions): Promise<void> {
  const ready = answer(end, READY_MS, (reply) => (reply.kind === 'ready' ? true : undefined));
  tell(end, { kind: 'open', options });
  await ready;
}

/** Runs a shell line in the guest of an end. */
export async function execIn(end: Running, line: string, timeoutMs: number): Promise<string> {
  const output = answer(end, timeoutMs, (reply) => (reply.kind === 'output' ? reply.text : undefined));
  tell(end, { kind: 'exec', line, timeoutMs });
  return output;
}

/** One host with two guests' sockets: one process, one switch; the taps are on both sides as always. */
async function alone(place: Place): Promise<Opened> {
  // Each tap is made by the QEMU that is in its namespace.
  const qemu = join(place.folder, 'qemu-b');
  const command = `exec ${findProgram('ip')} netns exec ${namespaceOf('b')} ${QEMU} "$@"`;
  writeFileSync(qemu, `#!/bin/sh\n${command}\n`, { mode: 0o700 });
  const end = startEnd(place.site, 'a');
  await opened(end, { ...endOptions(place, 'a', 'none'), qemus: [QEMU, qemu] });
  return { running: [end], macs: MACS };
}

const ours = (name: string, mtu: number, open: Overlay['open']): Overlay => ({ name, mtu, kind: 'kith', open });

export const KITH_OVERLAYS: readonly Overlay[] = [
  ours('kith-direct', 1500, link('direct')),
  ours('kith-direct', 9000, link('direct')),
  ours('kith-webrtc', 1500, link('webrtc')),
  ours('kith-webrtc', 9000, link('webrtc')),
  ours('kith-switch', 1500, alone),
  ours('kith-switch', 9000, alone),
];
