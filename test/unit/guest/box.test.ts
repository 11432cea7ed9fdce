/** The box, word for word: what is not in these arguments, nobody in a box has. */
import { describe, expect, it } from 'vitest';
import { boxedCommand, guestLimits, guestScope, residentLimitMiB, type Box } from '../../../src/guest/box.ts';

const size = { memoryMiB: 112, cpus: 2, diskBytes: 1 << 30, loadedMiB: 25 };
const box: Box = {
  tools: {
    sh: '/bin/sh',
    bwrap: '/usr/bin/bwrap',
    prlimit: '/usr/bin/prlimit',
    chrt: '/usr/bin/chrt',
    systemdRun: undefined,
    root: false,
    system: [{ path: '/usr' }, { path: '/bin', link: 'usr/bin' }],
  },
  contents: { read: ['/r/g', '/i/kernel'], write: ['/c/d'], devices: ['/dev/kvm'] },
  limits: guestLimits(size),
  filter: '/r/g/f',
  idle: true,
  report: true,
};
const line = (changes: Partial<Box> = {}, tools: Partial<Box['tools']> = {}): string[] => {
  const [program, args] = boxedCommand(['/usr/bin/qemu', '-m', '112'], {
    ...box,
    ...changes,
    tools: { ...box.tools, ...tools },
  });
  return [program, ...args];
};
/** From bubblewrap on. */
const inner = (words: readonly string[]): string => words.slice(words.indexOf('/usr/bin/bwrap')).join(' ');

describe('the box', () => {
  it('is exactly this', () => {
    expect(inner(line())).toBe(
      '/usr/bin/bwrap --unshare-user --unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup-try ' +
        '--hostname box --die-with-parent --new-session --as-pid-1 --cap-drop ALL ' +
        '--clearenv --setenv PATH /usr/bin:/bin --setenv MALLOC_ARENA_MAX 2 ' +
        '--ro-bind /usr /usr --symlink usr/bin /bin --dev /dev --dev-bind /dev/kvm /dev/kvm ' +
        '--ro-bind /r/g /r/g --ro-bind /i/kernel /i/kernel --bind /c/d /c/d ' +
        '--remount-ro /dev --remount-ro / --seccomp 9 --info-fd 8 -- ' +
        '/usr/bin/prlimit --core=0 --nofile=512 --stack=2097152 --fsize=1073741824 --as=706740224 --nproc=82 ' +
        '/usr/bin/qemu -m 112',
    );
    expect(line().slice(0, 5)).toEqual(['/usr/bin/chrt', '--idle', '0', '/bin/sh', '-c']);
  });

  it('lets in no descriptor but the standard three, its report and its filter', () => {
    const [script = '', name, filter, report] = line().slice(5);
    expect(script).toContain('exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-');
    expect([name, filter, report]).toEqual(['kith-box', '/r/g/f', 'report']);
  });

  it('has a cgroup where one can be had: of the session, or of the system for root', () => {
    const scope = guestScope('kith-guest-1', size, 50);
    const systemdRun = '/usr/bin/systemd-run';
    const limits =
      '--scope --quiet --collect --unit kith-guest-1 -p MemoryMax=418M -p MemorySwapMax=0 ' +
      '-p CPUQuota=100% -p TasksMax=82 -- /bin/sh';
    expect(line({ scope }, { systemdRun }).join(' ')).toContain(
      `/usr/bin/chrt --idle 0 /usr/bin/systemd-run --user ${limits}`,
    );
    expect(line({ scope }, { systemdRun, root: true }).join(' ')).toContain(`/usr/bin/systemd-run ${limits}`);
    expect(line({ scope }).join(' ')).not.toContain('CPUQuota');
    expect(residentLimitMiB(size)).toBe(418);
  });

  it('is what is left of it where programs are missing', () => {
    const bare = line({}, { bwrap: undefined, prlimit: undefined, chrt: undefined });
    expect(bare.slice(0, 2)).toEqual(['/bin/sh', '-c']);
    // Nobody reports, and nobody would load the filter.
    expect(bare.slice(3)).toEqual(['kith-box', '', '', '/usr/bin/qemu', '-m', '112']);
    // Without a namespace of its own this would count every process that the user has.
    expect(line({}, { bwrap: undefined }).join(' ')).not.toContain('nproc');
    expect(line({ idle: false })[0]).toBe('/bin/sh');
  });
});
