/** A plan for people: a table of guests and a drawing of who is linked with whom. Pure. */
import { centreOf, topologyEdges } from '../net/topology.ts';
import type { Plan } from '../protocol/plan.ts';

/** More guests than this make the circle unreadable; the list of links still tells everything. */
const MAX_DRAWN = 12;
const ROW_PER_COLUMN = 0.42; // a terminal cell is about twice as high as wide

/** Guests on a circle (a star's centre in the middle), links as dotted lines between them. */
export function drawTopology(plan: Plan): string {
  const guests = plan.guests;
  const links = topologyEdges(
    plan.lan.topology,
    guests.map(({ node }) => node),
  );
  const names = new Map(guests.map(({ node, name }) => [node, name]));
  if (guests.length > MAX_DRAWN) return links.map(([a, b]) => `${names.get(a)} - ${names.get(b)}`).join('\n');

  const radius = 10 + guests.length * 1.5;
  const width = Math.ceil(2 * radius) + 24;
  const height = Math.ceil(2 * radius * ROW_PER_COLUMN) + 1;
  const canvas = Array.from({ length: height }, () => Array.from({ length: width }, () => ' '));
  const { topology } = plan.lan;
  const centre =
    topology.kind === 'star'
      ? centreOf(
          topology.centres,
          guests.map(({ node }) => node),
        )
      : undefined;
  const ring = guests.filter(({ node }) => node !== centre);
  const at = new Map(
    guests.map((guest) => {
      const index = ring.indexOf(guest);
      const angle = (2 * Math.PI * index) / ring.length - Math.PI / 2;
      const reach = index < 0 ? 0 : radius;
      return [
        guest.node,
        { x: width / 2 + reach * Math.cos(angle), y: (height - 1) / 2 + reach * ROW_PER_COLUMN * Math.sin(angle) },
      ] as const;
    }),
  );
  const put = (x: number, y: number, mark: string) => {
    const row = canvas[Math.round(y)];
    const start = Math.max(0, Math.min(width - mark.length, Math.round(x - mark.length / 2)));
    if (row) for (const [index, letter] of mark.split('').entries()) row[start + index] = letter;
  };
  for (const [a, b] of links) {
    const [from, to] = [at.get(a), at.get(b)];
    if (!from || !to) continue;
    const steps = Math.max(Math.abs(to.x - from.x) / 2, Math.abs(to.y - from.y), 1);
    for (let step = 0; step <= steps; step++) {
      put(from.x + ((to.x - from.x) * step) / steps, from.y + ((to.y - from.y) * step) / steps, '·');
    }
  }
  for (const { node, name } of guests) put(at.get(node)?.x ?? 0, at.get(node)?.y ?? 0, `[${name}]`);
  return canvas.map((row) => row.join('').trimEnd()).join('\n');
}
