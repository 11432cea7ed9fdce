/** What a LAN costs while nobody uses it: routes of 200 peers, what an idle link says, the memory of a link. */
import type { Cost } from './table.ts';
import type { Site } from './site.ts';

export async function controlCosts(
  _site: Site,
  _options: { readonly quick: boolean; readonly say: (line: string) => void },
): Promise<Cost[]> {
  return [];
}
