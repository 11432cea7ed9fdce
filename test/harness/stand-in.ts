/** A hostile program in QEMU's place: a Perl script that tries one thing and says how it went. */
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { KithError } from '../../src/base/errors.ts';
import type { BootOptions } from '../../src/guest/guest.ts';
import type { HostFacts } from '../../src/guest/probe.ts';
import { openTestLan } from './guest.ts';

/** Numbers of system calls that Perl has no name for. */
const CALLS = {
  x64: { unshare: 272, ptrace: 101, memfd: 319, shmget: 29, keyctl: 250, io_uring: 425, setpgid: 109, prctl: 157 },
  arm64: { unshare: 97, ptrace: 117, memfd: 279, shmget: 194, keyctl: 219, io_uring: 425, setpgid: 154, prctl: 167 },
}[process.arch as 'x64'];

/** True where the script can name its system calls. */
export const canStandIn = process.platform === 'linux' && CALLS !== undefined;

const quote = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

export interface StandIn {
  readonly folder: string;
  /** Perl that returns what it got hold of, or dies with the reason. Values are put in as `$facts{name}`. */
  readonly attempt: string;
  readonly facts: Readonly<Record<string, string | number>>;
}

/** Writes the script; its path goes where QEMU's would be. */
export async function writeStandIn({ folder, attempt, facts }: StandIn): Promise<string> {
  const path = join(folder, `qemu-${Math.random().toString(36).slice(2)}`);
  const given = Object.entries({ ...CALLS, ...facts }).map(([name, value]) => `${name} => ${quote(String(value))}`);
  const script = `#!/usr/bin/perl
use strict; use warnings; no warnings 'portable'; use Socket; use Fcntl; use POSIX ();
$| = 1;
my %facts = (${given.join(', ')});
my ($own) = map { /path=(.*)\\/q$/ } @ARGV;
my ($disk) = map { /^file=(.*?),if=none/ } @ARGV;
sub ok { my ($value) = @_; die "$!\\n" unless $value; return $value }
sub dial { my ($address) = @_; socket(my $s, PF_INET, SOCK_STREAM, 0) or die "socket: $!\\n";
  connect($s, pack_sockaddr_in($facts{port}, inet_aton($address))) or die "connect: $!\\n"; my $word = ''; sysread($s, $word, 100); return $word }
sub slurp { my ($path) = @_; open(my $file, '<', $path) or die "$!\\n"; local $/; return scalar <$file> }
my $got = eval { ${attempt} };
my $why = $@; chomp $why;
print STDERR defined $got ? "SUCCEEDED $got" : "REFUSED $why";
exit 1;
`;
  await writeFile(path, script);
  await chmod(path, 0o755);
  return path;
}

/** Boots it as if it were QEMU; what it says is in the error of the boot that fails. */
export async function tryInPlaceOfQemu(
  standIn: StandIn,
  host: HostFacts,
  options: Partial<BootOptions> = {},
): Promise<string> {
  await using lan = await openTestLan(1);
  const qemu = await writeStandIn(standIn);
  const failure = await lan.boot(0, { host: { ...host, qemu, accelerator: 'tcg' }, ...options }).then(
    () => new Error('it was taken for a guest'),
    (error: unknown) => error,
  );
  const message = failure instanceof KithError ? failure.message : String(failure);
  if (/Out of memory!/.test(message)) return 'REFUSED out of memory'; // Perl's own last word
  const ended = /ended for its .*/.exec(message)?.[0];
  if (ended) return `SUCCEEDED until ${ended}`;
  return /(SUCCEEDED|REFUSED)[^\n]*/.exec(message)?.[0].trim() ?? message;
}
