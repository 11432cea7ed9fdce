/** `kith completion <shell>`: a completion script made from the command table. */
import { KithError } from '../base/errors.ts';
import type { Command, CommandContext } from './command.ts';
import { commands } from './commands.ts';
import { atMostWords } from './connect.ts';

/** What main.ts adds to every command. */
const COMMON = { json: 'print JSON', help: 'show what the command takes', 'log-level': 'debug, info, warn or error' };

/** Where the names of running peers are (base/paths.ts), for the shell to look when `--peer` wants one. */
const PEERS =
  'ls -- "$([ -n "$XDG_RUNTIME_DIR" ] && echo "$XDG_RUNTIME_DIR/kith" || echo "${TMPDIR:-/tmp}/kith-$(id -u)")" 2>/dev/null';

const SHELLS: Readonly<Record<string, (table: readonly Command[]) => string>> = { bash, zsh, fish };

export function run(context: CommandContext): Promise<void> {
  const [shell = ''] = context.positionals;
  atMostWords(context, 1);
  const script = completionScript(shell, commands);
  context.stdout(context.json ? `${JSON.stringify({ shell, script })}\n` : script);
  return Promise.resolve();
}

export function completionScript(shell: string, table: readonly Command[]): string {
  const make = Object.hasOwn(SHELLS, shell) ? SHELLS[shell] : undefined;
  if (make) return make(table);
  throw new KithError({
    code: 'cli.usage',
    message: shell ? `there is no completion for ${shell}` : 'no shell given',
    hint: `one of ${Object.keys(SHELLS).join(', ')}, as in kith completion bash`,
  });
}

function bash(table: readonly Command[]): string {
  const cases = table.map(
    (command) =>
      `    ${command.name}) words='${optionsOf(command)
        .map(([name]) => `--${name}`)
        .join(' ')}' ;;`,
  );
  return `# bash completion for kith
_kith() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" words=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${table.map(({ name }) => name).join(' ')}' -- "$cur"))
    return
  fi
  if [ "$prev" = --peer ]; then
    COMPREPLY=($(compgen -W "$(${PEERS})" -- "$cur"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
  esac
  case "$cur" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;
  esac
}
complete -o default -F _kith kith
`;
}

function zsh(table: readonly Command[]): string {
  const names = table.map(({ name, purpose }) => `    ${quote(`${name}:${purpose}`)}`);
  const cases = table.map((command) => {
    const options = optionsOf(command).map(([name, help, value]) => {
      const text = help.replaceAll(/[[\]:\\]/g, (mark) => `\\${mark}`);
      const argument = value ? `:${name}:${name === 'peer' ? '_kith_peers' : '_files'}` : '';
      return quote(`--${name}[${text}]${argument}`);
    });
    return `    ${command.name}) _arguments ${options.join(' ')} '*:file:_files' ;;`;
  });
  return `#compdef kith
_kith_peers() { compadd -- $(${PEERS}); }
_kith() {
  local -a names=(
${names.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command names
    return
  fi
  local name=$words[2]
  shift words
  (( CURRENT-- ))
  case $name in
${cases.join('\n')}
  esac
}
compdef _kith kith
`;
}

function fish(table: readonly Command[]): string {
  const lines = table.flatMap((command) => [
    `complete -c kith -n __fish_use_subcommand -f -a ${command.name} -d ${quote(command.purpose, FISH)}`,
    ...optionsOf(command).map(([name, help, value]) => {
      const argument = value ? (name === 'peer' ? ` -x -a ${quote(`(sh -c ${quote(PEERS)})`, FISH)}` : ' -r') : '';
      return `complete -c kith -n '__fish_seen_subcommand_from ${command.name}' -l ${name}${argument} -d ${quote(help, FISH)}`;
    }),
  ]);
  return `# fish completion for kith\n${lines.join('\n')}\n`;
}

/** Long name, help, and whether a value follows. */
function optionsOf({ options, optionHelp }: Command): [string, string, boolean][] {
  const own = Object.entries(options).map(([name, { type }]): [string, string, boolean] => [
    name,
    optionHelp[name] ?? '',
    type === 'string',
  ]);
  const common = Object.entries(COMMON).filter(([name]) => !Object.hasOwn(options, name));
  return [...own, ...common.map(([name, help]): [string, string, boolean] => [name, help, name === 'log-level'])];
}

/** How a single quote is written inside single quotes. */
const POSIX = { "'": String.raw`'\''` };
const FISH = { "'": String.raw`\'`, '\\': String.raw`\\` };

const quote = (text: string, escapes: Readonly<Record<string, string>> = POSIX) =>
  `'${text.replaceAll(/['\\]/g, (mark) => escapes[mark] ?? mark)}'`;
