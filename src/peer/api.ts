/** What `kith ps`, `exec`, `logs`, `console` and `down` see of a running peer. */
import { describeError, KithError } from '../base/errors.ts';
import type { GuestStatus, LinkStatus, PeerApi, PeerStatus } from '../control/api.ts';
import type { GuestConsole, RunningGuest } from '../guest/guest.ts';
import type { Hosting } from '../job/hosting.ts';
import type { GuestReport } from '../protocol/messages.ts';
import type { Plan } from '../protocol/plan.ts';
import type { Peer } from './peer.ts';
import { SOFTWARE } from '../version.ts';
import { linkApi } from './links.ts';
import { occupantsOf, reconsider } from './occupants.ts';

/** One page of a console log through the local socket. */
const LOG_PAGE_BYTES = 65_536;

export function peerApi(peer: Peer): PeerApi {
  return {
    status: () => statusOf(peer),
    async exec({ guest, command, timeoutSeconds }, { signal } = {}) {
      const outcome = peer.job
        ? await peer.job.exec(guest, command, { timeoutSeconds, signal })
        : await hostedGuest(peer, guest).exec([...command], {
            timeoutMs: timeoutSeconds * 1000,
            ...(signal ? { signal } : {}),
          });
      const { exitCode, stdout, stderr } = outcome;
      return {
        exitCode,
        ...(outcome.signal === undefined ? {} : { signal: outcome.signal }),
        stdout: Buffer.from(stdout).toString('base64'),
        stderr: Buffer.from(stderr).toString('base64'),
      };
    },
    async log({ guest, offset }) {
      if (peer.job) {
        const place = peer.job.where(guest);
        return peer.ask(place.peer, { kind: 'guest.log', lease: place.lease, offset });
      }
      const part = hostedConsole(peer, guest).log(offset, LOG_PAGE_BYTES);
      return { data: Buffer.from(part.data).toString('base64'), offset: part.offset, total: part.total };
    },
    async type({ guest, data }) {
      if (peer.job) {
        const place = peer.job.where(guest);
        return peer.ask(place.peer, { kind: 'guest.type', lease: place.lease, data });
      }
      hostedConsole(peer, guest).type(Buffer.from(data, 'base64'));
      return {};
    },
    ...linkApi(peer),
    async down() {
      peer.options.onDown();
      return {};
    },
    async reconsider({ forget }) {
      await reconsider(peer.trust, forget);
      return {};
    },
    requests: async () => ({ waiting: peer.worker.desk.waiting, decided: peer.worker.desk.decided }),
    async answer({ id, yes, remember }) {
      const request = await peer.worker.desk.answer(id, yes, yes ? 'kith allow' : 'kith refuse');
      if (!remember) return { request };
      try {
        return { request, remembered: await peer.owner.remember(request.question.who, yes) };
      } catch (error) {
        return { request, notRemembered: describeError(error) }; // the answer itself stands
      }
    },
    async explain({ id }) {
      const found = peer.worker.desk.find(id);
      if (found) return found;
      throw new KithError({
        code: 'job.no-request',
        message: `there is no request ${id}, or it was decided too long ago`,
        hint: 'kith requests shows those that wait and the last ones that were decided',
        retry: 'never',
      });
    },
    policy: async () => peer.owner.view(),
    async policyChanged() {
      await peer.owner.reload();
      return peer.owner.view();
    },
    async hold({ guest, ...change }) {
      return { guests: await peer.worker.holder.apply(change, guest) };
    },
  };
}

/** A guest on this very machine, by name. */
function hostingOf(peer: Peer, name: string): Hosting {
  const hosting = peer.worker.hostings.find(({ guest }) => guest.name === name);
  if (hosting) return hosting;
  const names = peer.worker.hostings.map(({ guest }) => guest.name);
  throw new KithError({
    code: 'job.no-guest',
    message: `there is no guest ${name} on this peer`,
    hint: `the guests here are ${names.join(', ') || 'none'}; the peer of kith run reaches all of them`,
  });
}

function hostedGuest(peer: Peer, name: string): RunningGuest {
  return hostingOf(peer, name).running ?? notUp(name);
}

function hostedConsole(peer: Peer, name: string): GuestConsole {
  return hostingOf(peer, name).console ?? notUp(name);
}

function notUp(name: string): never {
  throw new KithError({
    code: 'job.guest-not-up',
    message: `guest ${name} does not run (yet)`,
    hint: 'kith ps shows its state',
    retry: 'later',
  });
}

async function statusOf(peer: Peer): Promise<PeerStatus> {
  const { options, room } = peer;
  const reports = await reportsOf(peer);
  const plan = peer.job?.plan ?? peer.worker.hostings[0]?.plan;
  return {
    peer: {
      name: peer.name,
      jid: peer.self,
      role: options.role,
      room: room.jid,
      device: peer.trust.circle.fingerprint,
      confinement: peer.host.confinement,
      pid: process.pid,
      software: SOFTWARE,
      uptimeSeconds: Math.round((Date.now() - peer.startedAt) / 1000),
      residentMiB: Math.round(process.memoryUsage.rss() / 2 ** 20),
    },
    occupants: occupantsOf(room, peer.trust.circle),
    ...(plan
      ? {
          job: {
            id: plan.job.id,
            name: plan.job.name,
            topology: plan.lan.topology.kind,
            revision: plan.job.revision,
            state: peer.job?.state ?? 'running',
            subnet: plan.lan.subnet,
          },
        }
      : {}),
    guests: plan ? guestsOf(plan, reports, peer) : [],
    links: plan ? linksOf(plan, reports) : [],
  };
}

/** By guest name: what each peer reported to the job that runs here, or what the guests on this machine say themselves. */
async function reportsOf(peer: Peer): Promise<Map<string, GuestReport>> {
  const { job, worker } = peer;
  if (job) {
    const byPeer = new Map(job.places.map((place) => [place.peer, place.report]));
    return new Map(
      (job.plan?.guests ?? []).flatMap(({ name, peer: at }) => {
        const report = byPeer.get(at);
        return report ? [[name, report] as const] : [];
      }),
    );
  }
  return new Map(
    await Promise.all(worker.hostings.map(async (hosting) => [hosting.guest.name, await hosting.report()] as const)),
  );
}

function guestsOf(plan: Plan, reports: ReadonlyMap<string, GuestReport>, { room, self }: Peer): GuestStatus[] {
  const nicks = new Map([[self, room.nick], ...room.occupants().map(({ jid, nick }) => [jid, nick] as const)]);
  return plan.guests.map(({ name, role, mac, address, peer }) => {
    const report = reports.get(name);
    return {
      name,
      role,
      mac,
      address,
      peer: nicks.get(peer) ?? peer,
      state: report?.state ?? 'unknown',
      ...(report?.bootSeconds === undefined ? {} : { bootSeconds: report.bootSeconds }),
      ...(report?.residentMiB === undefined ? {} : { residentMiB: report.residentMiB }),
      ...(report?.accelerator === undefined ? {} : { accelerator: report.accelerator }),
      ...(report?.reason === undefined ? {} : { reason: report.reason }),
      ...(report?.drops === undefined ? {} : { drops: report.drops }),
    };
  });
}

/** Each link once, as its lower end sees it; the other end's view stands in while that one has not reported. */
function linksOf(plan: Plan, reports: ReadonlyMap<string, GuestReport>): LinkStatus[] {
  const names = new Map(plan.guests.map(({ node, name }) => [node, name]));
  const seen = new Map<string, LinkStatus>();
  for (const report of reports.values()) {
    for (const { from, to, ...rest } of report.links) {
      const [low, high] = from < to ? [from, to] : [to, from];
      const [a, b] = [names.get(from), names.get(to)];
      const key = `${low}-${high}`;
      if (a && b && (from < to || !seen.has(key))) seen.set(key, { from: a, to: b, ...rest });
    }
  }
  return [...seen.values()];
}
