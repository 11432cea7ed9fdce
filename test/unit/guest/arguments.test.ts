/** QEMU's command line: only what is meant to be there, and no secret. */
import { describe, expect, it } from 'vitest';
import {
  acceleratorArguments,
  guestArguments,
  probeArguments,
  type MachineOptions,
} from '../../../src/guest/arguments.ts';
import type { HostFacts } from '../../../src/guest/probe.ts';

const host: HostFacts = {
  qemu: '/usr/bin/qemu-system-x86_64',
  version: '7.2.22',
  arch: 'x86_64',
  accelerator: 'tcg',
  confinement: ['seccomp'],
  streamNetdev: true,
};
const machine: MachineOptions = {
  name: 'worker-1',
  memoryMiB: 112,
  cpus: 2,
  mac: '52:54:00:00:00:02',
  mtu: 1400,
  kernel: '/i/kernel',
  initrd: '/i/initrd',
  commandLine: 'console=ttyS0 quiet',
  hasDisk: false,
  files: { qmp: '/r/q', serial: '/r/s', agent: '/r/a', net: '/r/n', config: '/r/c', overlay: '/r/d' },
};

describe('the arguments of a guest', () => {
  it('are exactly these under software emulation', () => {
    expect(guestArguments(machine, host, 'tcg').join(' ')).toBe(
      '-name worker-1 -M pc -accel tcg,tb-size=32 -cpu qemu64 -no-user-config -nodefaults -display none -no-reboot ' +
        '-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny -m 112 -smp 2 ' +
        '-kernel /i/kernel -initrd /i/initrd -append console=ttyS0 quiet ' +
        '-chardev socket,id=qmp,path=/r/q -mon chardev=qmp,mode=control ' +
        '-chardev socket,id=console,path=/r/s -serial chardev:console -chardev socket,id=agent,path=/r/a ' +
        '-device virtio-serial-pci -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 ' +
        '-netdev stream,id=lan,server=off,addr.type=unix,addr.path=/r/n ' +
        '-device virtio-net-pci,netdev=lan,mac=52:54:00:00:00:02,host_mtu=1400,romfile= -device virtio-rng-pci ' +
        '-fw_cfg name=opt/org.kith/config,file=/r/c',
    );
  });

  it('use the processor of the host where it runs the guest itself', () => {
    expect(acceleratorArguments('kvm')).toEqual(['-M', 'pc', '-accel', 'kvm', '-cpu', 'host']);
    expect(acceleratorArguments('hvf')).toEqual(['-M', 'pc', '-accel', 'hvf', '-cpu', 'host']);
  });

  it('leave out the sandbox where QEMU has none, and the initrd where the image has none', () => {
    const args = guestArguments({ ...machine, initrd: undefined }, { ...host, confinement: [] }, 'tcg');
    expect(args).not.toContain('-sandbox');
    expect(args).not.toContain('-initrd');
  });

  it('add a disk only as an overlay', () => {
    const args = guestArguments({ ...machine, hasDisk: true }, host, 'tcg');
    expect(args).toContain('file=/r/d,if=none,id=disk,format=qcow2,discard=unmap,werror=report,rerror=report');
  });

  it('cannot be extended by a comma in a path', () => {
    const files = { ...machine.files, qmp: '/r,server=on/q', config: '/r,x/c', net: '/r,y/n', overlay: '/r,z/d' };
    const args = guestArguments({ ...machine, files, hasDisk: true }, host, 'tcg');
    expect(args).toContain('socket,id=qmp,path=/r,,server=on/q');
    expect(args).toContain('name=opt/org.kith/config,file=/r,,x/c');
    expect(args).toContain('stream,id=lan,server=off,addr.type=unix,addr.path=/r,,y/n');
    expect(args).toContain('file=/r,,z/d,if=none,id=disk,format=qcow2,discard=unmap,werror=report,rerror=report');
  });

  it('of the probe make the kernel speak', () => {
    const args = probeArguments('/i/kernel', host, 'kvm');
    expect(args).toContain('console=ttyS0 earlyprintk=ttyS0 panic=-1');
    expect(args).not.toContain('-initrd');
  });
});
