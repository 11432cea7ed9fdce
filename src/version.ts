/** Name and version of this software, as announced in the room. */
import { readFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  readonly version: string;
};

export const VERSION = version;
export const SOFTWARE = `kith/${version}`;
