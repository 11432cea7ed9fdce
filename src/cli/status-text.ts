/** A peer's status as a page of text. Pure. */
import type { GuestStatus, LinkStatus, OccupantStatus, PeerStatus } from '../control/api.ts';
import { formatBytes } from './bytes.ts';
import { printable } from './output.ts';
import { table } from './table.ts';

export function statusText(status: PeerStatus): string {
  const { peer, job, guests, links, occupants } = status;
  const lines = [
    `${peer.name}  ${peer.role} ${peer.jid} in ${peer.room}, ${peer.software}, pid ${peer.pid}, up ${formatDuration(peer.uptimeSeconds)}, ${peer.residentMiB} MiB`,
    job
      ? `job ${job.name}  ${job.topology}, ${job.subnet}, ${job.state}, revision ${job.revision}, id ${job.id}`
      : 'no job',
  ].map(printable);
  const parts = [
    lines.join('\n'),
    ...(guests.length > 0 ? [guestTable(guests)] : []),
    ...(links.length > 0 ? [linkTable(links)] : []),
    roomTable(occupants),
  ];
  return `${parts.join('\n\n')}\n`;
}

const guestTable = (guests: readonly GuestStatus[]) =>
  plainTable(
    ['guest', 'role', 'mac', 'address', 'peer', 'state', 'boot s', 'memory', 'accel', 'reason'],
    guests.map((guest) => [
      guest.name,
      guest.role,
      guest.mac,
      guest.address,
      guest.peer,
      guest.state,
      guest.bootSeconds?.toFixed(1),
      guest.residentMiB === undefined ? undefined : `${guest.residentMiB} MiB`,
      guest.accelerator,
      guest.reason,
    ]),
  );

const linkTable = (links: readonly LinkStatus[]) =>
  plainTable(
    ['link', 'wire', 'rtt ms', 'out', 'in', 'drops', 'why not better'],
    links.map((link) => [
      `${link.from} - ${link.to}`,
      link.wire,
      link.roundTripMs?.toFixed(1),
      formatBytes(link.sentBytes),
      formatBytes(link.receivedBytes),
      String(link.drops),
      whyText(link.reasons, SHORT_REASON),
    ]),
  );

/** `kith ps --links`: what the links do now, and what the switches let fall. */
export function linksText({ links, guests }: PeerStatus): string {
  if (links.length === 0) return 'no links\n';
  const dropped = guests.filter(({ drops = {} }) => Object.keys(drops).length > 0);
  const parts = [
    plainTable(
      ['from', 'to', 'wire', 'for', 'rtt ms', 'loss', 'out/s', 'in/s', 'drops', 'why not better'],
      links.map((link) => [
        link.from,
        link.to,
        link.wire,
        formatDuration(link.seconds),
        link.roundTripMs?.toFixed(1),
        `${Math.round(link.loss * 100)} %`,
        formatBytes(link.sentPerSecond),
        formatBytes(link.receivedPerSecond),
        String(link.drops),
        whyText(link.reasons),
      ]),
    ),
    ...(dropped.length > 0
      ? [
          plainTable(
            ['guest', 'its switch dropped'],
            dropped.map(({ name, drops = {} }) => [
              name,
              Object.entries(drops)
                .map(([reason, count]) => `${reason} ${count}`)
                .join(', '),
            ]),
          ),
        ]
      : []),
  ];
  return `${parts.join('\n\n')}\n`;
}

/** `kith ps` has one line for each link. */
const SHORT_REASON = 60;

const whyText = (reasons: LinkStatus['reasons'], length = Number.POSITIVE_INFINITY) => {
  const text = Object.entries(reasons)
    .map(([rung, reason]) => `${rung}: ${reason}`)
    .join('; ');
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
};

const roomTable = (occupants: readonly OccupantStatus[]) =>
  plainTable(
    ['in the room', 'role', 'alive', 'trust', 'cpus', 'memory', 'accel', 'confined', 'guests', 'accepts', 'because'],
    occupants.map((occupant) => [
      occupant.nick,
      occupant.role,
      yesNo(occupant.alive),
      occupant.trust,
      occupant.cpus?.toString(),
      occupant.memoryMiB === undefined ? undefined : `${occupant.memoryMiB} MiB`,
      occupant.accelerator,
      occupant.confinement === undefined || occupant.accelerator === 'none'
        ? undefined
        : confinementText(occupant.confinement),
      occupant.guests?.toString(),
      occupant.accepts === undefined ? undefined : yesNo(occupant.accepts),
      occupant.because,
    ]),
  );

/** A last column that says nothing in any row is left out. */
function plainTable(head: readonly string[], rows: readonly (readonly (string | undefined)[])[]): string {
  const last = head.length - 1;
  const width = rows.some((row) => row[last]) ? head.length : last;
  return table(
    head.slice(0, width),
    rows.map((row) => row.slice(0, width).map((cell) => (cell ? printable(cell) : '-'))),
  );
}

/** Whom a job relied on, and why: the machines that host its guests. */
export function trustTable({ peer, guests, occupants }: PeerStatus, self: string): string {
  const hosts = new Set(guests.map((guest) => guest.peer));
  const others = occupants.filter(({ nick }) => hosts.has(nick));
  return plainTable(
    ['peer', 'trust', 'confined', 'because'],
    [
      [self, 'self', confinementText(peer.confinement), 'this machine'],
      ...others.map(({ nick, trust, because, confinement = [] }) => [
        nick,
        trust,
        confinementText(confinement),
        because,
      ]),
    ],
  );
}

/** What holds guests on a machine, for a table: `namespaces+seccomp+rlimits`. */
const confinementText = (parts: readonly string[]): string => parts.join('+') || 'not at all';

const yesNo = (value: boolean) => (value ? 'yes' : 'no');

/** `45 s`, `12 min`, `3 h 5 min`, `2 d 4 h`. */
export function formatDuration(seconds: number): string {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes < 1) return `${Math.floor(seconds)} s`;
  if (hours < 1) return `${minutes} min`;
  return hours < 24 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
