/**
 * Completion scripts for bash, zsh and fish: commands, subcommands and options. Pure.
 *
 * All three follow the words typed so far along the known commands; options and values between them
 * are passed over. What is no command completes as file names, where the shell does that.
 *
 * @module
 */
import { allCommands, type CommandNode } from "./command-tree.ts";

interface Candidate {
  readonly word: string;
  readonly help: string;
}

/** For bash, with or without the bash-completion package. */
export function bashCompletion(program: CommandNode): string {
  const cases = allCommands(program).map((node) => {
    const words = candidates(node).map(({ word }) => word);
    return `    ${quote(node.path)}) words=${quote(words.join(" "))} ;;`;
  });
  return `# bash completion of overlay; made by "overlay completion bash"
_overlay() {
  local current=\${COMP_WORDS[COMP_CWORD]} at=overlay words='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at \${COMP_WORDS[i]}" in
    ${steps(program)}) at="$at \${COMP_WORDS[i]}" ;;
    esac
  done
  case $at in
${cases.join("\n")}
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o default -F _overlay overlay
`;
}

/** For zsh; also as a file "_overlay" in `fpath`. */
export function zshCompletion(program: CommandNode): string {
  const cases = allCommands(program).map((node) => {
    const found = candidates(node).map(({ word, help }) =>
      quote(`${word}:${help.replaceAll(":", "\\:")}`),
    );
    return `    ${quote(node.path)}) found=(${found.join(" ")}) ;;`;
  });
  return `#compdef overlay
# zsh completion of overlay; made by "overlay completion zsh"
_overlay() {
  local at=overlay word
  local -a found
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "$at $word" in
    (${steps(program)}) at="$at $word" ;;
    esac
  done
  case $at in
${cases.map((line) => line.replace("    ", "    (")).join("\n")}
  esac
  _describe -o overlay found || _files
}
if [[ $funcstack[1] = _overlay ]]; then _overlay "$@"; else compdef _overlay overlay; fi
`;
}

/** For fish. */
export function fishCompletion(program: CommandNode): string {
  const lines = allCommands(program).flatMap((node) =>
    candidates(node).map(({ word, help }) => {
      const what = word.startsWith("--") ? `-l ${word.slice(2)}` : `-f -a ${word}`;
      return `complete -c overlay -n '__overlay_at "${node.path}"' ${what} -d ${fishQuote(help)}`;
    }),
  );
  return `# fish completion of overlay; made by "overlay completion fish"
function __overlay_at
    set -l at overlay
    for word in (commandline -opc)[2..-1]
        if contains -- "$at $word" ${inner(program)
          .map(({ path }) => fishQuote(path))
          .join(" ")}
            set at "$at $word"
        end
    end
    test "$at" = $argv[1]
end
${lines.join("\n")}
`;
}

function candidates(node: CommandNode): Candidate[] {
  return [
    ...node.children.map(({ name, help }) => ({ word: name, help })),
    ...node.options.map(({ long, help }) => ({ word: long, help })),
  ];
}

/** Every path that a word can lead to, as alternatives of a shell's `case`. */
function steps(program: CommandNode): string {
  return inner(program)
    .map(({ path }) => quote(path))
    .join(" | ");
}

function inner(program: CommandNode): readonly CommandNode[] {
  return allCommands(program).slice(1);
}

/** In single quotes of a POSIX shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** In single quotes of fish, where a backslash escapes both itself and a quote. */
function fishQuote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
