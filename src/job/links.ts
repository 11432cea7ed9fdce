/** Links of a running job by the names of their guests: what the script or its owner wants goes to the peers at both ends. */
import { KithError } from '../base/errors.ts';
import { parseShape, shapeText, type Shape, type ShapeWords } from '../net/shape.ts';
import { topologyEdges } from '../net/topology.ts';
import { REQUEST_TIMEOUT_MS } from '../protocol/limits.ts';
import type { LinkRung } from '../protocol/messages.ts';
import type { Plan } from '../protocol/plan.ts';
import type { Link, LinkEnd, ShapeOrder } from './define.ts';
import type { Ask } from './guest-client.ts';
import type { LinkSettings } from './link.ts';
import type { Place } from './membership.ts';

export interface LinksDeps {
  readonly ask: Ask;
  readonly plan: () => Plan | undefined;
  readonly places: () => readonly Place[];
  readonly signal: AbortSignal;
}

export interface Links {
  /** Throws `job.no-link`. */
  link(a: string, b: string): Link;
  /** A peer has a new plan: tells it what is set for its links, where it or the peer at the other end is a new one. */
  renew(place: Place): Promise<void>;
}

/** One end: the node that sends, and the one at the other end. */
type Way = readonly [from: number, to: number];

/** What is set for one end, and the two peers between which it was. */
interface Kept extends LinkSettings {
  readonly between: string;
}

export function createLinks({ ask, plan, places, signal }: LinksDeps): Links {
  const kept = new Map<string, Kept>();

  const placeOf = (node: number): Place => {
    const place = places().find((each) => each.node === node);
    if (place) return place;
    throw new KithError({
      code: 'job.no-guest',
      message: `nobody has the place of ${nameOf(plan(), node)} now`,
      hint: 'kith ps shows who is there',
      retry: 'later',
    });
  };
  const between = (from: Place, to: number) => `${from.lease} ${places().find(({ node }) => node === to)?.lease ?? ''}`;

  const send = async ([from, to]: Way, settings: LinkSettings): Promise<void> => {
    const place = placeOf(from);
    const { lease, peer } = place;
    await ask(peer, { kind: 'link.set', lease, node: to, ...settings }, { timeoutMs: REQUEST_TIMEOUT_MS, signal });
  };
  const set = async (way: Way, settings: LinkSettings): Promise<void> => {
    await send(way, settings);
    const before = kept.get(way.join());
    kept.set(way.join(), { ...before, ...settings, between: between(placeOf(way[0]), way[1]) });
  };
  const setBoth = async ([a, b]: Way, settings: LinkSettings): Promise<void> => {
    await Promise.all([set([a, b], settings), set([b, a], settings)]);
  };

  const endOf = ([from, to]: Way): LinkEnd => {
    const report = places()
      .find(({ node }) => node === from)
      ?.report?.links.find((link) => link.to === to);
    const { shape, wires } = kept.get([from, to].join()) ?? {};
    return {
      guest: nameOf(plan(), from),
      wire: report?.wire ?? 'unknown',
      ...(report ? { reasons: report.reasons } : {}),
      ...(report?.roundTripMs === undefined ? {} : { roundTripMs: report.roundTripMs }),
      sentBytes: report?.sentBytes ?? 0,
      receivedBytes: report?.receivedBytes ?? 0,
      drops: report?.drops ?? 0,
      ...(shape ? { shape: shapeText(shape) } : {}),
      ...(wires ? { wires } : {}),
    };
  };

  const handOn = (way: Way, guests: readonly [string, string]): Link => {
    const back: Way = [way[1], way[0]];
    const wires = async (list: readonly LinkRung[] | null) => setBoth(way, { wires: list && checkWires(list) });
    return {
      guests,
      async shape(order) {
        const ways = waysOf(order);
        await Promise.all([
          ...(ways.there === undefined ? [] : [set(way, { shape: ways.there })]),
          ...(ways.back === undefined ? [] : [set(back, { shape: ways.back })]),
        ]);
      },
      clear: () => setBoth(way, { shape: null }),
      wires,
      cut: () => wires([]),
      restore: () => wires(null),
      status: () => [endOf(way), endOf(back)],
    };
  };

  return {
    link(a, b) {
      const now = plan();
      const node = (name: string) => now?.guests.find((guest) => guest.name === name)?.node;
      const [from, to] = [node(a), node(b)];
      const edges = now
        ? topologyEdges(
            now.lan.topology,
            now.guests.map((guest) => guest.node),
          )
        : [];
      if (from !== undefined && to !== undefined && edges.some((edge) => edge.includes(from) && edge.includes(to))) {
        if (from !== to) return handOn([from, to], [a, b]);
      }
      const names = edges.slice(0, NAMED).map((edge) => edge.map((end) => nameOf(now, end)).join(' - '));
      throw new KithError({
        code: 'job.no-link',
        message: `there is no link ${a} - ${b}`,
        hint: `the links are ${names.join(', ') || 'not planned yet'}${edges.length > NAMED ? ', …' : ''}`,
        retry: 'never',
      });
    },
    async renew(place) {
      const own = [...kept].filter(([way]) => way.startsWith(`${place.node},`));
      for (const [way, { between: before, ...settings }] of own) {
        const to = Number(way.split(',')[1]);
        const now = between(place, to);
        if (now === before || now.endsWith(' ')) continue;
        await send([place.node, to], settings);
        kept.set(way, { ...settings, between: now });
      }
    },
  };
}

/** An error names this many links; a full mesh has thousands. */
const NAMED = 12;

const RUNGS: readonly string[] = ['direct', 'webrtc', 'stanza'] satisfies LinkRung[];

function checkWires(list: readonly LinkRung[]): readonly LinkRung[] {
  const wrong = list.find((rung, i) => !RUNGS.includes(rung) || list.indexOf(rung) !== i);
  if (wrong === undefined) return list;
  throw new KithError({
    code: 'job.no-wire',
    message: `${wrong} is no kind of wire, or stands there twice`,
    hint: `some of ${RUNGS.join(', ')}, best first`,
    retry: 'never',
  });
}

const nameOf = (plan: Plan | undefined, node: number): string =>
  plan?.lan.slots.find((slot) => slot.node === node)?.name ?? `node ${node}`;

const isByWay = (order: ShapeOrder): order is Exclude<ShapeOrder, ShapeWords> => 'there' in order || 'back' in order;

/** Undefined: that way stays as it is. Throws `shape.invalid`. */
function waysOf(order: ShapeOrder): {
  readonly there?: Shape | null | undefined;
  readonly back?: Shape | null | undefined;
} {
  if (!isByWay(order)) {
    const shape = parseShape(order) ?? null;
    return { there: shape, back: shape };
  }
  const { there, back, ...rest } = order;
  const [beside] = Object.keys(rest);
  if (beside !== undefined) {
    throw new KithError({
      code: 'shape.invalid',
      message: `shape is not valid: ${beside} stands beside there and back`,
      hint: 'say it for each way: { there: { delay: "20ms" }, back: { delay: "20ms" } }',
      retry: 'never',
    });
  }
  const way = (words: typeof there) => (words ? (parseShape(words) ?? null) : words);
  return { there: way(there), back: way(back) };
}
