/** The command line of QEMU, by pure functions: what is not in here, no guest of ours has. */
import { CONFIG_NAME } from './config.ts';
import type { HostFacts } from './probe.ts';

export interface GuestFiles {
  readonly qmp: string;
  readonly serial: string;
  readonly agent: string;
  readonly net: string;
  readonly config: string;
  readonly overlay: string;
}

export interface MachineOptions {
  readonly name: string;
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly mac: string;
  readonly mtu: number;
  readonly kernel: string;
  readonly initrd?: string | undefined;
  readonly commandLine: string;
  readonly hasDisk: boolean;
  readonly files: GuestFiles;
}

export type Accelerator = HostFacts['accelerator'];

/**
 * Translated code that QEMU may keep, MiB; its own default is 1 GiB. Measured on the micro guest: 64 boots no faster than 32
 * and costs 27 MiB more, 16 is 5 % slower, 8 takes twice as long.
 */
const TRANSLATION_MIB = 32;

/** Seccomp filter (QEMU docs/system/security): the guest needs no new programs, users or priorities once it runs. */
export const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';

/** In QEMU's option syntax a comma ends a value unless it is doubled. */
export const quote = (value: string): string => value.replaceAll(',', ',,');

export function acceleratorArguments(accelerator: Accelerator): string[] {
  // qemu64 boots faster than max under software emulation, and microvm has no clock there to calibrate against (measured).
  if (accelerator === 'tcg') return ['-M', 'pc', '-accel', `tcg,tb-size=${TRANSLATION_MIB}`, '-cpu', 'qemu64'];
  return ['-M', 'pc', '-accel', accelerator, '-cpu', 'host'];
}

/** Devices only as named here; no windows, no monitor, no user configuration; a reset ends the guest. */
function baseArguments(host: Pick<HostFacts, 'confinement'>): string[] {
  const sandbox = host.confinement.includes('seccomp') ? ['-sandbox', SANDBOX] : [];
  return ['-no-user-config', '-nodefaults', '-display', 'none', '-no-reboot', ...sandbox];
}

/** QEMU dials what we listen on, so that no byte of the boot is lost and no socket has to be waited for. */
function channel(id: string, path: string): string[] {
  return ['-chardev', `socket,id=${id},path=${quote(path)}`];
}

/**
 * QEMU dials here, too: then it needs no folder to write to, cannot lead us to a socket of somebody else's by a link in the
 * place of its own, and never blocks on us (QEMU 7.2 does on a socket that it has accepted). `romfile=`: no network boot ROM.
 */
function network(mac: string, mtu: number, path: string): string[] {
  return [
    '-netdev',
    `stream,id=lan,server=off,addr.type=unix,addr.path=${quote(path)}`,
    '-device',
    `virtio-net-pci,netdev=lan,mac=${mac},host_mtu=${mtu},romfile=`,
  ];
}

function disk(path: string): string[] {
  return [
    '-drive',
    // A host without room is the guest's failed write, not a guest that stands still.
    `file=${quote(path)},if=none,id=disk,format=qcow2,discard=unmap,werror=report,rerror=report`,
    '-device',
    'virtio-blk-pci,drive=disk',
  ];
}

export function guestArguments(machine: MachineOptions, host: HostFacts, accelerator: Accelerator): string[] {
  const { files } = machine;
  return [
    '-name',
    quote(machine.name),
    ...acceleratorArguments(accelerator),
    ...baseArguments(host),
    '-m',
    String(machine.memoryMiB),
    '-smp',
    String(machine.cpus),
    '-kernel',
    machine.kernel,
    ...(machine.initrd ? ['-initrd', machine.initrd] : []),
    '-append',
    machine.commandLine,
    ...channel('qmp', files.qmp),
    '-mon',
    'chardev=qmp,mode=control',
    ...channel('console', files.serial),
    '-serial',
    'chardev:console',
    ...channel('agent', files.agent),
    '-device',
    'virtio-serial-pci',
    '-device',
    'virtserialport,chardev=agent,name=org.qemu.guest_agent.0',
    ...network(machine.mac, machine.mtu, files.net),
    '-device',
    'virtio-rng-pci',
    ...(machine.hasDisk ? disk(files.overlay) : []),
    '-fw_cfg',
    `name=${CONFIG_NAME},file=${quote(files.config)}`,
  ];
}

export const PROBE_MIB = 128;

/** What an accelerator needs of /dev. */
export const acceleratorDevices = (accelerator: Accelerator): string[] => (accelerator === 'kvm' ? ['/dev/kvm'] : []);

/** Boots only the kernel, noisily and without a root: enough to see whether an accelerator really runs code. */
export function probeArguments(
  kernel: string,
  host: Pick<HostFacts, 'confinement'>,
  accelerator: Accelerator,
): string[] {
  return [
    ...acceleratorArguments(accelerator),
    ...baseArguments(host),
    '-m',
    String(PROBE_MIB),
    '-kernel',
    kernel,
    '-append',
    'console=ttyS0 earlyprintk=ttyS0 panic=-1',
    '-serial',
    'stdio',
  ];
}
