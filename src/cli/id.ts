/** `kith id`: the key of this device, by which friends know it. */
import { identityOf } from '../home/identity.ts';
import type { CommandContext } from './command.ts';
import { atMostWords } from './connect.ts';

export async function run(context: CommandContext): Promise<void> {
  atMostWords(context, 0);
  const identity = await identityOf(context.paths);
  if (context.json) return context.stdout(`${JSON.stringify({ ok: true, ...identity })}\n`);
  const { fingerprint, key, file, account, room } = identity;
  const rows = [
    ['fingerprint', fingerprint],
    ['key', key],
    ['file', file],
    ...(account && room ? [['account', `${account} in ${room}`]] : []),
  ];
  context.stdout(`${rows.map(([what = '', value = '']) => `${what.padEnd(12)} ${value}`).join('\n')}\n`);
}
