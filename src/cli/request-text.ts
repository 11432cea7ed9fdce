/** A lease request as a person reads it: who, what, how much, how long. Pure; names from other machines steer nothing. */
import type { LeaseRequest } from '../control/api.ts';
import { formatDuration } from './status-text.ts';
import { printable } from './output.ts';

type Question = LeaseRequest['question'];

/** What stands behind the name. */
const TRUST: Readonly<Record<Question['who']['trust'], string>> = {
  self: 'a device of your own',
  verified: 'verified',
  vouched: 'not verified: a verified device vouches for this one',
  invited: 'not verified: came by invitation',
  'first-sight': 'NOT VERIFIED: key first seen here',
};

export const whoText = ({ account, device, trust }: Question['who']): string =>
  printable(`${account} (${TRUST[trust]}${device === undefined ? '' : `, ${device}`})`);

const imageText = ({ name, hash, publisher, seen }: Question['image']): string =>
  printable(
    `${name} (${hash.slice(0, 12)}${publisher ? `, by ${publisher}` : ''}, ${seen ? 'seen here before' : 'never seen here'})`,
  );

const howMuch = ({ memoryMiB, cpus, diskMiB }: Question): string =>
  `${memoryMiB} MiB, ${cpus} cpu${diskMiB > 0 ? `, disk ${diskMiB} MiB` : ''}`;

const howLong = ({ seconds }: Question): string => (seconds > 0 ? formatDuration(seconds) : 'open end');

export function requestLines({ id, question, verdict }: LeaseRequest): string[] {
  return [
    `request ${id}: a ${question.role} guest for job ${printable(question.job)}`,
    `  who       ${whoText(question.who)}`,
    `  image     ${imageText(question.image)}`,
    `  resources ${howMuch(question)}`,
    `  how long  ${howLong(question)}`,
    `  Internet  ${question.internet ? 'yes' : 'no'}`,
    `  because   ${printable(verdict.rule.words)}`,
  ];
}
