/** The rows as a bar chart in SVG, readable on light and dark pages. Pure. */
import type { Row } from './figures.ts';

const WIDTH = 760;
const LABEL = 190;
const VALUE = 190;
const BAR = 18;
const GAP = 8;
const TITLE = 34;

const STYLE = `
text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}.note{fill:#57606a}
.kith{fill:#0969da}.peer{fill:#8c959f}.limit{fill:#d0d7de}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.kith{fill:#4493f8}.peer{fill:#6e7681}.limit{fill:#3d444d}}`;

const LIMITS = new Set(['veth', 'qemu-tcp', 'qemu-unix']);

/** The bare veth would make all other bars dots. */
const LEFT_OUT = new Set(['veth']);

const kindOf = (name: string): 'kith' | 'peer' | 'limit' =>
  name.startsWith('kith') ? 'kith' : LIMITS.has(name) ? 'limit' : 'peer';

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

export function chartOf(rows: readonly Row[]): string {
  const shown = rows.filter(({ name }) => !LEFT_OUT.has(name));
  const most = Math.max(1, ...shown.map(({ mbps }) => mbps));
  const groups = [
    { title: 'MTU up to 1500, Mbit/s', rows: shown.filter(({ mtu }) => mtu <= 1500) },
    { title: 'MTU 9000, Mbit/s', rows: shown.filter(({ mtu }) => mtu > 1500) },
  ].filter((group) => group.rows.length > 0);
  let y = 0;
  const parts: string[] = [];
  for (const group of groups) {
    parts.push(`<text class="title" x="0" y="${y + 20}">${escaped(group.title)}</text>`);
    y += TITLE;
    for (const row of [...group.rows].sort((a, b) => b.mbps - a.mbps)) {
      const width = Math.max(1, Math.round((row.mbps / most) * (WIDTH - LABEL - VALUE)));
      const label = row.mtu === 1500 || row.mtu === 9000 ? row.name : `${row.name} (${row.mtu})`;
      const value = `${Math.round(row.mbps)}`;
      parts.push(
        `<text x="0" y="${y + 14}">${escaped(label)}</text>`,
        `<rect class="${kindOf(row.name)}" x="${LABEL}" y="${y}" width="${width}" height="${BAR}" rx="3"/>`,
        `<text x="${LABEL + width + 6}" y="${y + 14}">${value} <tspan class="note">${row.cpuPerGB.toFixed(1)} CPU-s/GB</tspan></text>`,
      );
      y += BAR + GAP;
    }
    y += GAP;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" role="img" aria-label="TCP throughput of overlays"><style>${STYLE}</style>\n${parts.join('\n')}\n</svg>\n`;
}
