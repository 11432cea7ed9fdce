/** How much memory a process has resident now. */
import { readFile } from 'node:fs/promises';
import { runCommand } from '../base/process.ts';

/** MiB, or undefined when the process is gone. Counts shared pages, such as QEMU's own code, in full. */
export async function residentMiB(pid: number): Promise<number | undefined> {
  if (process.platform === 'linux') {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    return fromKiB(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
  }
  const { stdout } = await runCommand('ps', ['-o', 'rss=', '-p', String(pid)], { timeoutMs: 5000 });
  return fromKiB(stdout.trim());
}

function fromKiB(text: string | undefined): number | undefined {
  const kib = Number(text);
  return text && Number.isFinite(kib) ? Math.round(kib / 102.4) / 10 : undefined;
}
