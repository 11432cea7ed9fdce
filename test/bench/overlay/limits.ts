/** What the machine allows: the veth itself, and two guest-less QEMUs joined by one socket, which is what we stand in between. */
import { join } from 'node:path';
import { adapterArguments } from '../../../src/guest/adapter.ts';
import type { Overlay, Place } from './overlay.ts';
import { QEMU, UNDERLAY, type Side } from './site.ts';

async function veth() {
  return { running: [], target: UNDERLAY.b };
}

function pair(socket: (place: Place) => Readonly<Record<Side, string>>) {
  return async (place: Place) => {
    const { site, device } = place;
    const stream = socket(place);
    const start = (side: Side) =>
      site.start(side, [QEMU, ...adapterArguments({ kind: 'tap', ifname: device }, stream[side])]);
    const server = start('b');
    await new Promise((resolve) => setTimeout(resolve, 300)); // QEMU dials once: the other end has to listen by then
    return { running: [server, start('a')] };
  };
}

const tcp = pair(({ port }) => ({
  a: `server=off,addr.type=inet,addr.host=${UNDERLAY.b},addr.port=${port}`,
  b: `server=on,addr.type=inet,addr.host=${UNDERLAY.b},addr.port=${port}`,
}));

const unix = pair(({ folder }) => ({
  a: `server=off,addr.type=unix,addr.path=${join(folder, 's')}`,
  b: `server=on,addr.type=unix,addr.path=${join(folder, 's')}`,
}));

const limit = (name: string, mtu: number, open: Overlay['open']): Overlay => ({ name, mtu, kind: 'limit', open });

export const LIMIT_OVERLAYS: readonly Overlay[] = [
  limit('veth', 1500, veth),
  limit('qemu-tcp', 1500, tcp),
  limit('qemu-tcp', 9000, tcp),
  limit('qemu-unix', 1500, unix),
  limit('qemu-unix', 9000, unix),
];
