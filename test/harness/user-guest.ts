/** Boots a guest as whoever runs this, from an image folder named by the argument, and says what held it. */
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openRunDirectory } from '../../src/base/guard.ts';
import { silentLog } from '../../src/base/log.ts';
import { bootGuest } from '../../src/guest/guest.ts';
import { probeHost } from '../../src/guest/probe.ts';
import { generateSshKey } from '../../src/guest/ssh-key.ts';

const folder = process.argv[2] ?? '';
const manifest = JSON.parse(readFileSync(join(folder, 'MANIFEST.json'), 'utf8')) as {
  name: string;
  commandLine: string;
  memoryMiB: { minimum: number; default: number };
  agent: boolean;
};
const kernel = join(folder, 'kernel');
const host = await probeHost({ cacheDir: tmpdir(), kernel, log: silentLog });
await using run = await openRunDirectory(tmpdir(), 'run-');
const { publicKey } = await generateSshKey();
const [mac, address] = ['52:54:00:00:00:01', '10.77.0.1'];
await using guest = await bootGuest({
  name: 'master',
  image: { kernel, initrd: join(folder, 'initrd'), manifest },
  memoryMiB: manifest.memoryMiB.default,
  cpus: 1,
  config: {
    role: 'master',
    hostname: 'master',
    mac,
    address,
    subnet: '10.77.0.0/24',
    mtu: 1400,
    slots: [{ name: 'master', mac, address }],
    masterKey: publicKey,
  },
  run,
  host,
  onRun: () => {},
  log: silentLog,
});
const { stdout } = await guest.exec(['hostname'], { timeoutMs: 60_000 });
const status = readFileSync(`/proc/${guest.pid}/status`, 'utf8');
process.stdout.write(
  JSON.stringify({
    confinement: host.confinement,
    hostname: stdout.toString(),
    uid: /^Uid:\s+(.+)$/m.exec(status)?.[1]?.split('\t').join(' '),
  }),
);
