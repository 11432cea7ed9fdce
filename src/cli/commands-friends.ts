/** Commands about people: who may come into the room, who is in it, and how far their keys are known. */
import type { Command } from './command.ts';

const host = { peer: { type: 'string' } } as const;
const hostHelp = { peer: 'name of the host, if several run' };

export const friendCommands: readonly Command[] = [
  {
    name: 'invite',
    purpose: 'print a link, and on a terminal a QR code, that lets a friend into the room hosted here',
    usage: '',
    example: 'kith invite --expires 2h > invitation',
    options: {
      expires: { type: 'string' },
      uses: { type: 'string' },
      nick: { type: 'string' },
      list: { type: 'boolean' },
      ...host,
    },
    optionHelp: {
      expires: 'how long it is good for, default 24h',
      uses: 'how many devices it lets in, default 1',
      nick: 'what it calls you, default as kith host has it',
      list: 'show those that were given out, and who used them',
      ...hostHelp,
    },
    load: () => import('./invite.ts'),
  },
  {
    name: 'revoke',
    purpose: 'make an invitation worthless; who came in by it stays',
    usage: '<id|link>',
    example: 'kith revoke 3f2a90c1',
    options: { file: { type: 'string' }, ...host },
    optionHelp: { file: 'the file that the link is in', ...hostHelp },
    load: () => import('./revoke.ts'),
  },
  {
    name: 'join',
    purpose: "become a member of a friend's room by an invitation link",
    usage: '<link|->',
    example: 'kith join --file invitation',
    options: { file: { type: 'string' }, nick: { type: 'string' } },
    optionHelp: {
      file: 'the file that the link is in (others can see a link on the command line)',
      nick: 'how friends see you in the room',
    },
    load: () => import('./join.ts'),
  },
  {
    name: 'ban',
    purpose: 'put somebody out of the room hosted here, everywhere and for good',
    usage: '<nick|account|fingerprint>',
    example: 'kith ban ben',
    options: host,
    optionHelp: { ...hostHelp },
    load: () => import('./ban.ts'),
  },
  {
    name: 'unban',
    purpose: 'let somebody back in',
    usage: '<nick|account|fingerprint>',
    example: 'kith unban ben',
    options: host,
    optionHelp: { ...hostHelp },
    load: () => import('./unban.ts'),
  },
  {
    name: 'id',
    purpose: 'show the key of this device, by which friends know it',
    usage: '',
    example: 'kith id',
    options: {},
    optionHelp: {},
    load: () => import('./id.ts'),
  },
  {
    name: 'contacts',
    purpose: 'show which keys this home knows, whose they are, and why it trusts them',
    usage: '',
    example: 'kith contacts',
    options: {},
    optionHelp: {},
    load: () => import('./contacts.ts'),
  },
  {
    name: 'verify',
    purpose: 'compare six words with a friend in the room and pin the key, also a new one',
    usage: '<nick|account|fingerprint>',
    example: 'kith verify ben',
    options: { words: { type: 'string' }, yes: { type: 'boolean' } },
    optionHelp: { words: 'what your friend sees, instead of a question', yes: 'with --words: ask nothing' },
    load: () => import('./verify.ts'),
  },
  {
    name: 'vouch',
    purpose: 'on your old device: say that a new one is yours, too',
    usage: '<key>',
    example: 'kith vouch --take kith-vouch:…',
    options: { take: { type: 'string' } },
    optionHelp: { take: 'on the new device: the line that the old one printed' },
    load: () => import('./vouch.ts'),
  },
];
