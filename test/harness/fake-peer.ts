/** A running peer as its local API shows it, without room, guests or network. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { KithError } from '../../src/base/errors.ts';
import { silentLog, type Log } from '../../src/base/log.ts';
import type { GuestStatus, PeerApi, PeerStatus } from '../../src/control/api.ts';
import { socketOf } from '../../src/control/directory.ts';
import { serveControl } from '../../src/control/server.ts';

export const base64 = (data: string | Uint8Array): string => Buffer.from(data).toString('base64');

export const guestStatus = (name: string, more: Partial<GuestStatus> = {}): GuestStatus => ({
  name,
  role: name === 'master' ? 'master' : 'worker',
  mac: '02:00:00:00:00:01',
  address: '10.77.0.1',
  peer: 'anna',
  state: 'up',
  ...more,
});

export function peerStatus(
  name: string,
  role: PeerStatus['peer']['role'] = 'worker',
  more: Partial<PeerStatus> = {},
): PeerStatus {
  const peer = {
    name,
    jid: `${name}@kith.internal/x`,
    role,
    room: 'friends@rooms.kith.internal',
    device: '3f2a-90c1-0000-0000-0000-0000-0000-0001',
    confinement: ['namespaces', 'seccomp'],
    pid: 4711,
    software: 'kith/0.1.0',
  };
  return { peer: { ...peer, uptimeSeconds: 61, residentMiB: 90 }, occupants: [], guests: [], links: [], ...more };
}

/** Answers that no test asked for are refused, so that no test passes by accident. */
export function fakeApi(answers: Partial<PeerApi> = {}): PeerApi {
  const refuse = (method: string) => () =>
    Promise.reject(
      new KithError({ code: 'test.no-answer', message: `the fake peer has no ${method}`, hint: 'give it one' }),
    );
  return {
    status: refuse('status'),
    exec: refuse('exec'),
    log: refuse('log'),
    type: refuse('type'),
    link: refuse('link'),
    captureOpen: refuse('captureOpen'),
    captureRead: refuse('captureRead'),
    captureClose: refuse('captureClose'),
    down: refuse('down'),
    reconsider: refuse('reconsider'),
    requests: refuse('requests'),
    answer: refuse('answer'),
    explain: refuse('explain'),
    policy: refuse('policy'),
    policyChanged: refuse('policyChanged'),
    hold: refuse('hold'),
    ...answers,
  };
}

export interface Served extends AsyncDisposable {
  readonly socket: string;
}

/** A peer under its name in the runtime directory; its own directory goes with it, as a real one's does. */
export async function serveFakePeer(
  runtime: string,
  name: string,
  answers: Partial<PeerApi> = {},
  options: { readonly log?: Log; readonly stallMs?: number } = {},
): Promise<Served> {
  const socket = socketOf(runtime, name);
  await mkdir(dirname(socket), { recursive: true, mode: 0o700 });
  const { log = silentLog, ...rest } = options;
  const server = await serveControl({ path: socket, api: fakeApi(answers), log, ...rest });
  return {
    socket,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await rm(dirname(socket), { recursive: true, force: true });
    },
  };
}

export interface TempFolder extends AsyncDisposable {
  readonly path: string;
}

export async function tempFolder(): Promise<TempFolder> {
  const path = await mkdtemp(join(tmpdir(), 'kith-test-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
