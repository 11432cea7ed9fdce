/** Friends behind the malicious server: real sessions, circles, mailboxes and leases, without guests; and their keys, to see what leaks. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../src/base/clock.ts';
import { createLeaseTable, type LeaseTable } from '../../src/job/lease.ts';
import type { Request, RequestKind, RequestOf } from '../../src/protocol/messages.ts';
import { openCircle, type Circle, type CircleOptions } from '../../src/trust/circle.ts';
import { openContacts, type Contacts } from '../../src/trust/contacts.ts';
import { openDevice, type Device } from '../../src/trust/device.ts';
import { openMailbox, type Mailbox } from '../../src/xmpp/mailbox.ts';
import { joinRoom, type Room } from '../../src/xmpp/room.ts';
import type { Session } from '../../src/xmpp/session.ts';
import type { EvilServer } from './evil-server.ts';
import type { TestServer } from './prosody.ts';
import { virtualClock } from './virtual-clock.ts';
import { capacityOf } from './xmpp.ts';

export interface Friend extends AsyncDisposable {
  readonly jid: string;
  readonly account: string;
  readonly session: Session;
  readonly device: Device;
  readonly contacts: Contacts;
  readonly circle: Circle;
  readonly mailbox: Mailbox;
  readonly room: Room;
  readonly leases: LeaseTable;
  /** From now on this is what it answers, honest or not; the returned function ends it. */
  answerWith(reply: unknown): () => void;
  /** Requests that reached the handler: opened, checked, valid. */
  readonly heard: readonly { readonly from: string; readonly message: Request }[];
}

export interface FriendOptions {
  readonly prosody: TestServer;
  readonly evil: EvilServer;
  readonly name: string;
  readonly room: string;
  /** Default: its own. Two processes of one device share it. */
  readonly home?: string;
  readonly resource?: string;
  readonly trust?: Partial<CircleOptions>;
}

export interface Home extends AsyncDisposable {
  readonly path: string;
}

export async function openHome(): Promise<Home> {
  const path = await mkdtemp(join(tmpdir(), 'kith-evil-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Nothing renews or expires by itself. */
const still: Clock = virtualClock();

export async function openFriend(options: FriendOptions): Promise<Friend> {
  const { prosody, evil, name, room: address } = options;
  await using stack = new AsyncDisposableStack();
  const home = options.home ?? stack.use(await openHome()).path;
  const [device, contacts] = await Promise.all([openDevice(home), openContacts(home)]);
  const session = stack.use(
    await prosody.open(name, { port: evil.port, ...(options.resource ? { resource: options.resource } : {}) }),
  );
  const circle = await openCircle({
    device,
    contacts,
    room: address,
    self: () => session.jid,
    inviter: undefined,
    certificate: undefined,
    vouch: undefined,
    bans: undefined,
    ...options.trust,
  });
  const mailbox = openMailbox({ session, seals: circle });
  const leases = createLeaseTable({ clock: still, onExpired: () => {} });
  let lie: unknown;
  const heard: { from: string; message: Request }[] = [];
  stack.defer(
    mailbox.serve(async (from, message) => {
      heard.push({ from, message });
      if (typeof lie === 'function') return (lie as () => unknown)();
      return lie ?? obey(leases, from, message);
    }),
  );
  const room = stack.use(
    await joinRoom({ session, introductions: circle, room: address, nick: name, capacity: capacityOf(), create: {} }),
  );
  stack.defer(() => contacts.saved().catch(() => {}));
  const owned = stack.move();
  return {
    jid: session.jid,
    account: session.jid.split('/')[0]!,
    session,
    device,
    contacts,
    circle,
    mailbox,
    room,
    leases,
    heard,
    answerWith(reply) {
      lie = reply;
      return () => {
        lie = undefined;
      };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** An owner who says yes to everybody. */
function obey(leases: LeaseTable, from: string, message: Request): unknown {
  switch (message.kind) {
    case 'lease.request': {
      const { job, jobName, memoryMiB, cpus, seconds, image } = message;
      const lease = leases.grant({ job, jobName, holder: from, memoryMiB, cpus, imageHash: image.hash }, seconds);
      return { lease: lease.id, seconds };
    }
    case 'lease.renew':
      leases.renew(message.lease, from, message.seconds);
      return { seconds: message.seconds };
    case 'lease.end':
      leases.check(message.lease, from);
      leases.end(message.lease);
      return {};
    default:
      return {};
  }
}

const HASH = 'a'.repeat(64);

/** An honest request for a lease; each is for another job. */
export const leaseRequest = (job: string = crypto.randomUUID()): RequestOf<'lease.request'> => ({
  kind: 'lease.request',
  job,
  jobName: 'mesh',
  role: 'worker',
  memoryMiB: 128,
  cpus: 1,
  image: { name: 'micro', hash: HASH, bytes: 1 },
  seconds: 90,
});

/** What a hostile program says; the types of honest ones do not bind it. */
export const raw = (message: unknown): RequestOf<RequestKind> => message as RequestOf<RequestKind>;
