/** The micro image: Debian's cloud kernel and an initramfs of Debian programs that is up in seconds, made without root. */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { constants, zstdCompressSync } from 'node:zlib';
import { KithError } from '../../src/base/errors.ts';
import { describeFile } from '../../src/image/files.ts';
import type { BuildOptions, Recipe } from '../../src/image/recipe.ts';
import { downloadPackages, unpack } from '../kit/apt.ts';
import { Archive } from '../kit/cpio.ts';
import { collectModules } from '../kit/modules.ts';
import { addBusybox, addFolder, addProgram, indexTree } from '../kit/programs.ts';
import { fingerprint, planPackages, refreshPackages, type PackagePlan } from '../kit/packages.ts';

const HERE = import.meta.dirname;

const PACKAGES = {
  kernel: { meta: 'linux-image-cloud-amd64', pattern: /^linux-image-.*-cloud-amd64$/ },
  programs: ['busybox-static', 'dropbear-bin', 'iperf3', 'nmap', 'qemu-guest-agent', 'tcpdump', 'tinydns'],
  // Dependencies of maintainer scripts and of NSE: nothing in this image loads them, and they are a third of the download.
  skip: /^(perl|libperl|lib.*-perl$|dpkg|tar|passwd|adduser|debconf|usrmerge|init-system-helpers|sysuser-helper|libsem|libsepol|libpam|libaudit|libdb5|libgdbm|gcc-)/,
} as const;

/** tinydns needs nothing but libc; dnsmasq needs 4.5 MB more, and the guest then runs out of memory at boot (measured). */
const PROGRAMS = [
  'dropbear',
  'dbclient',
  'dropbearkey',
  'dropbearconvert',
  'iperf3',
  'nmap',
  'qemu-ga',
  'tcpdump',
  'tinydns',
  'tinydns-data',
];

/** Modules of the LAN, the disk, the agent's port, the configuration and the balloon; the cloud kernel has the rest built in. */
const MODULES = [
  'virtio_pci',
  'virtio_net',
  'virtio_console',
  'qemu_fw_cfg',
  'virtio_blk',
  'virtio_balloon',
  'virtio-rng',
];

/** nmap's tables without its scripting engine, which alone is 20 MB. */
const NMAP_FILES = ['nmap-services', 'nmap-payloads', 'nmap-protocols', 'nmap-mac-prefixes', 'nmap-rpc'];

/**
 * cryptomgr.notests: the kernel's cipher self-tests take 0.3 s of each boot under software emulation (measured).
 * panic=-1 with QEMU's -no-reboot: a guest that panics ends at once instead of standing still.
 * rootfstype=ramfs: the usual tmpfs takes at most half of the memory, which would have to be that much more.
 * ipv6.disable: the LAN of a plan is IPv4; router solicitations would only load slow links.
 */
const COMMAND_LINE = 'console=ttyS0 quiet cryptomgr.notests panic=-1 ipv6.disable=1 rootfstype=ramfs';

/** Measured: with 96 MiB the kernel panics while it unpacks the initramfs. */
const MEMORY = { minimum: 112, default: 112 };

export const recipe: Recipe = {
  name: 'micro',
  inputs: ({ stateDir, signal }) =>
    fingerprint({ sources: [HERE, join(HERE, '..', 'kit')], packages: PACKAGES, stateDir, signal }),
  async build(options) {
    const { stateDir, workDir, signal, onProgress } = options;
    onProgress('asking apt for package versions');
    let plan = await planPackages(PACKAGES, stateDir, signal);
    const debs = await fetchPackages(plan, options).catch(async (error: unknown) => {
      signal?.throwIfAborted();
      if (!(error instanceof KithError)) throw error;
      onProgress('the package lists are out of date, reading new ones');
      plan = await refreshPackages(PACKAGES, stateDir, signal);
      return fetchPackages(plan, options);
    });
    const tree = join(workDir, 'tree');
    await mkdir(tree);
    onProgress(`unpacking ${debs.length} packages`);
    for (const deb of debs) await unpack(deb, tree, signal);
    const folder = join(workDir, 'out');
    await mkdir(folder);
    await writeFile(join(folder, 'kernel'), await findKernel(tree));
    onProgress('packing the initramfs');
    await writeFile(join(folder, 'initrd'), compress(await initramfs(tree)));
    await rm(tree, { recursive: true, force: true });
    return {
      folder,
      manifest: {
        version: 1,
        name: 'micro',
        arch: 'x86_64',
        kernel: await describeFile(join(folder, 'kernel'), 'kernel', signal),
        initrd: await describeFile(join(folder, 'initrd'), 'initrd', signal),
        commandLine: COMMAND_LINE,
        memoryMiB: MEMORY,
        cpus: 1,
        agent: true,
        consoleDevice: 'ttyS0',
      },
    };
  },
};

async function fetchPackages(plan: PackagePlan, { workDir, signal, onProgress }: BuildOptions): Promise<string[]> {
  onProgress(`downloading ${plan.packages.length} packages (${(plan.bytes / 1e6).toFixed(0)} MB)`);
  return downloadPackages({ ...plan.apt, folder: workDir }, plan.packages, signal);
}

/**
 * Packed, as Debian ships it. The unpacked ELF kernel boots 0.2 s sooner under software emulation but costs each QEMU 33 MiB
 * more resident memory and each friend 39 MB more download (measured: 2.15 s and 248 MiB against 2.35 s and 215 MiB).
 */
async function findKernel(tree: string): Promise<Buffer> {
  const name = (await readdir(join(tree, 'boot'))).find((file) => file.startsWith('vmlinuz-'));
  if (!name) throw new KithError({ code: 'image.packages', message: 'the kernel package has no boot/vmlinuz-*' });
  return readFile(join(tree, 'boot', name));
}

async function initramfs(tree: string): Promise<Buffer> {
  const archive = new Archive();
  for (const folder of ['dev', 'proc', 'sys', 'run', 'mnt', 'etc/dropbear', 'var/lib']) archive.folder(folder);
  archive.folder('root', 0o700);
  archive.folder('root/.ssh', 0o700);
  archive.folder('tmp', 0o1777);
  archive.link('var/run', '/run');
  archive.link('init', '/bin/busybox');
  const index = await indexTree(tree);
  await addBusybox(archive, index);
  for (const program of PROGRAMS) await addProgram(archive, index, program);
  for (const file of NMAP_FILES) {
    const path = join(tree, 'usr/share/nmap', file);
    archive.file(`usr/share/nmap/${file}`, await readFile(path));
  }
  const modules = await collectModules(join(tree, 'lib/modules'), MODULES);
  for (const { name, data } of modules) archive.file(`lib/modules/${name}.ko`, data);
  archive.file('etc/modules', modules.map(({ name }) => `${name}\n`).join(''));
  archive.file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n');
  archive.file('etc/group', 'root:x:0:\n');
  archive.file('etc/shells', '/bin/sh\n');
  archive.file('etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files dns\n');
  await addFolder(archive, join(HERE, 'root'));
  return archive.toBuffer();
}

/**
 * zstd: a tenth smaller than gzip and 0.1 s quicker to unpack under software emulation (measured). The guest pays for the
 * window in memory while it unpacks: level 19 panicked with 112 MiB, so the window is fixed at 1 MiB.
 */
const compress = (data: Buffer): Buffer =>
  zstdCompressSync(data, { params: { [constants.ZSTD_c_compressionLevel]: 17, [constants.ZSTD_c_windowLog]: 20 } });
