/** What the exit code says, after sysexits.h where it has a word. `kith exec` passes the guest command's own code through. */
import { errorCode, isAbort, KithError } from '../base/errors.ts';

export const EXIT = {
  ok: 0,
  /** The command did its work and the answer is no: a demo whose guests do not all reach each other. */
  failed: 1,
  /** EX_USAGE: wrong words on the command line or in a file. */
  usage: 64,
  /** EX_UNAVAILABLE: something that is needed is not there. */
  unavailable: 69,
  /** EX_SOFTWARE: a fault of ours. */
  internal: 70,
  /** EX_IOERR: the output could not be written: the disk is full. */
  output: 74,
  /** EX_TEMPFAIL: the same call may succeed later. */
  later: 75,
  /** EX_NOPERM: somebody said no. */
  refused: 77,
  /** 128 + SIGINT, as shells say it. */
  interrupted: 130,
  /** 128 + SIGPIPE: whoever read our output has gone, as in `kith ps | head -1`. */
  pipe: 141,
} as const;

const USAGE = new Set([
  'policy.invalid',
  'policy.no-field',
  'policy.unsafe',
  'job.invalid',
  'job.no-link',
  'job.no-wire',
  'shape.invalid',
  'job.not-found',
  'job.script',
  'invitation.not-one',
  'invitation.damaged',
  'invitation.old',
  'control.bad-name',
]);
const REFUSED = new Set([
  'job.refused',
  'xmpp.auth-failed',
  'xmpp.not-a-member',
  'xmpp.banned',
  'trust.banned',
  'xmpp.certificate',
  'peer.not-allowed',
]);
const UNAVAILABLE = new Set([
  'guest.qemu-missing',
  'guest.qemu-too-old',
  'xmpp.prosody-missing',
  'xmpp.unreachable',
  'xmpp.unknown-room',
  'xmpp.no-such-room',
  'control.no-peer',
  'control.no-host',
  'control.which-host',
  'trust.no-inviter',
  'control.which-peer',
  'control.peer-gone',
  'control.no-socket',
  'image.no-apt',
]);

export function exitCodeOf(error: unknown): number {
  const code = errorCode(error);
  if (isAbort(error)) return EXIT.interrupted;
  if (code === 'capture.not-written') return EXIT.output;
  if (code.startsWith('cli.') || USAGE.has(code)) return EXIT.usage;
  if (REFUSED.has(code) || code.startsWith('invitation.')) return EXIT.refused;
  if (UNAVAILABLE.has(code)) return EXIT.unavailable;
  if (error instanceof KithError) return error.retry === 'later' ? EXIT.later : EXIT.failed;
  return EXIT.internal;
}
