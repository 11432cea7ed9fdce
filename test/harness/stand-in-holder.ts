/** A peer whose QEMU is a stand-in that lingers: boots it, says where, and waits to be killed. Arguments: script, confinement. */
import { openTestLan, microImage } from './guest.ts';
import type { HostFacts } from '../../src/guest/probe.ts';

const [, , qemu = '', confinement = ''] = process.argv;
const { host } = await microImage();
const lan = await openTestLan(1);
process.stdout.write(`${lan.run.path}\n`);
const kinds = confinement.split(',').filter(Boolean) as unknown as HostFacts['confinement'];
lan.boot(0, { host: { ...host, qemu, accelerator: 'tcg', confinement: kinds } }).catch(() => {});
setInterval(() => {}, 1 << 30);
