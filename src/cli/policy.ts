/** `kith policy`: the rules that decide who may place guests here; shows, changes, checks and explains them. */
import { access } from 'node:fs/promises';
import { errorCode, KithError } from '../base/errors.ts';
import { policyPath, policyWithoutPeer, readPolicy, setField, setFriend } from '../peer/owner.ts';
import type { PolicyView } from '../control/api.ts';
import { findPeers } from '../control/choose.ts';
import { connectControl } from '../control/client.ts';
import { socketOf } from '../control/directory.ts';
import { peerWith, requestOf } from './answer.ts';
import type { CommandContext } from './command.ts';
import { loadConfig } from './config.ts';
import { atMostWords, connectPeer } from './connect.ts';
import { printable } from './output.ts';
import { requestLines } from './request-text.ts';
import { table } from './table.ts';

const ACTIONS: Readonly<Record<string, (context: CommandContext) => Promise<void>>> = {
  show,
  set: (context) => change(context, setField, 'kith policy set memoryMiB 1024'),
  friend: (context) => change(context, setFriend, 'kith policy friend anna@example.org always'),
  check,
  explain,
};

export async function run(context: CommandContext): Promise<void> {
  const [word = 'show'] = context.positionals;
  const action = Object.hasOwn(ACTIONS, word) ? ACTIONS[word] : undefined;
  if (action) return action(context);
  throw new KithError({
    code: 'cli.usage',
    message: `kith policy has no ${word}`,
    hint: `one of ${Object.keys(ACTIONS).join(', ')}`,
  });
}

/** As the running peer has it; where none runs, as `kith peer` would begin. */
async function show(context: CommandContext): Promise<void> {
  atMostWords(context, 1);
  const view = await running(context).catch(async (error: unknown) => {
    if (errorCode(error) !== 'control.no-peer' || context.values['peer'] !== undefined) throw error;
    const { accept, limits = {} } = await loadConfig(context);
    return policyWithoutPeer({ role: 'peer', accept, limits, paths: context.paths });
  });
  context.stdout(context.json ? `${JSON.stringify(view)}\n` : policyText(view));
}

async function running(context: CommandContext): Promise<PolicyView> {
  await using peer = await connectPeer(context);
  return await peer.policy();
}

export function policyText({ path, role, fault, rows }: PolicyView): string {
  const cells = rows.map(({ key, value, place, note }) =>
    [key, value, place, note ?? ''].map((cell) => printable(String(cell))),
  );
  const head = `policy of kith ${role === 'initiator' ? 'run' : role}, file ${path}`;
  const broken = fault === undefined ? '' : `BROKEN, the last good one is in force: ${printable(fault)}\n`;
  return `${head}\n${broken}\n${table(['rule', 'value', 'from', ''], cells)}\n`;
}

async function change(
  context: CommandContext,
  write: (path: string, key: string, value: string) => Promise<unknown>,
  example: string,
): Promise<void> {
  atMostWords(context, 3);
  const [, key, value] = context.positionals;
  if (key === undefined || value === undefined)
    throw new KithError({ code: 'cli.usage', message: 'a name and a value are needed', hint: example });
  const path = policyPath(context.paths);
  await write(path, key, value);
  const peers = await tellPeers(context, path);
  if (context.json) context.stdout(`${JSON.stringify({ ok: true, path, key, value, peers })}\n`);
  else context.stdout(`${key} ${value}${peers.length > 0 ? `, in force at ${peers.join(', ')}` : ''}\n`);
}

/** They watch the file; but whoever changed it wants to know that it is in force. */
async function tellPeers({ paths, signal }: CommandContext, path: string): Promise<string[]> {
  const told = (await findPeers(paths.runtime, { signal })).map(async ({ name }) => {
    try {
      await using peer = await connectControl(socketOf(paths.runtime, name), { signal });
      const view = await peer.policyChanged();
      return view.path === path ? [name] : []; // one may have been started with another configuration
    } catch {
      signal.throwIfAborted();
      return []; // it goes, or is of an older version: then it reads the file at its next start
    }
  });
  return (await Promise.all(told)).flat();
}

async function check(context: CommandContext): Promise<void> {
  atMostWords(context, 2);
  const [, given] = context.positionals;
  const path = given ?? policyPath(context.paths);
  const exists = await access(path).then(
    () => true,
    () => false,
  );
  if (given !== undefined && !exists)
    throw new KithError({ code: 'cli.usage', message: `there is no file ${given}`, hint: 'check the path' });
  await readPolicy(path);
  if (context.json) context.stdout(`${JSON.stringify({ ok: true, path, exists })}\n`);
  else context.stdout(exists ? `${path} is a valid policy\n` : `there is no ${path}: defaults apply\n`);
}

async function explain(context: CommandContext): Promise<void> {
  const id = requestOf(context, 'kith policy explain 3f9a1c', 1);
  atMostWords(context, 2);
  await using peer = await peerWith(context, id);
  const request = await peer.explain({ id });
  if (context.json) {
    context.stdout(`${JSON.stringify(request)}\n`);
    return;
  }
  const { rule, reasons } = request.verdict;
  const outcome = 'by' in request ? `${request.answer} (${request.by})` : 'waits for the owner';
  const lines = [
    ...requestLines(request),
    `  answer    ${outcome}`,
    `  rule      ${printable(rule.words)}`,
    `  from      ${printable(rule.place)}`,
    ...reasons.slice(1).map((reason) => `  also      ${printable(reason)}`),
  ];
  context.stdout(`${lines.join('\n')}\n`);
}
