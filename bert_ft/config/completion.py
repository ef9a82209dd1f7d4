"""What the shell's <Tab> offers: verbs, groups, their choices, keys and values of ``conf/``.

Hydra's own completion composes a configuration for each <Tab>, knows no verbs, and offers files that are only parts of others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from bert_ft.config.conf_files import Composed, compose
from bert_ft.config.rules import RULES
from bert_ft.config.sections import choices_of
from bert_ft.errors import ConfigError
from bert_ft.verbs import VERBS

_FLAGS = ("--help", "--version", "--cfg", "--multirun", "--config-dir", "--shell-completion")
_QUERY = "-sc query 2>/dev/null"

# COMP_LINE has the line up to the cursor. bash splits words at = and other signs, so the part of a word before the last of
# them is taken off each answer; without an answer it completes names of files.
_BASH = f"""\
_bert_ft() {{
    local line="${{COMP_LINE:0:$COMP_POINT}}" word="${{COMP_WORDS[COMP_CWORD]}}" IFS=$'\\n'
    [[ $word == [=:@] ]] && word=
    local last="${{line##* }}"
    COMPREPLY=($(COMP_LINE="$line" "$1" {_QUERY}))
    COMPREPLY=("${{COMPREPLY[@]#"${{last%"$word"}}"}}")
    [[ ${{COMPREPLY[0]}} == *[=./] ]] && compopt -o nospace 2>/dev/null
}}
complete -o default -F _bert_ft bert_ft"""
_ZSH = f"""\
_bert_ft() {{
    local -a found
    found=("${{(@f)$(COMP_LINE="${{BUFFER[1,CURSOR]}}" "${{words[1]}}" {_QUERY})}}")
    found=(${{found:#}})
    if (( $#found )); then compadd -S '' -- $found; else _files; fi
}}
compdef _bert_ft bert_ft"""
_FISH = f"""\
function __bert_ft
    set -lx COMP_LINE (commandline -cp)
    bert_ft {_QUERY}
end
complete -c bert_ft -a '(__bert_ft)'"""
INSTALL = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
UNINSTALL = {
    "bash": "complete -r bert_ft; unset -f _bert_ft",
    "zsh": "compdef -d bert_ft; unfunction _bert_ft",
    "fish": "complete -e -c bert_ft; functions -e __bert_ft",
}


def run(words: Sequence[str]) -> None:
    """Do what stands behind ``-sc``: print a shell's script, or answer a script's query for ``COMP_LINE``.

    Raises:
        ConfigError: it is none of these.
    """
    does, _, shell = words[0].partition("=") if len(words) == 1 else ("", "", "")
    if does == "query":
        print("\n".join(completions(os.environ.get("COMP_LINE", ""))))
    elif does in ("install", "uninstall") and shell in INSTALL:
        print((INSTALL if does == "install" else UNINSTALL)[shell])
    else:
        raise ConfigError(
            f"-sc {' '.join(words)}: give install=SHELL or uninstall=SHELL, with {', '.join(INSTALL)}; "
            'e.g. eval "$(bert_ft -sc install=bash)"'
        )


def completions(line: str) -> list[str]:
    """Return the words that the last word of ``line`` may become; a line that ends with a space begins a new one."""
    _, *words = line.split(" ")
    *before, word = [each for each in words[:-1] if each] + words[-1:] or [""]
    if not before:
        found: Iterator[str] = iter((*VERBS, "--help", "--version"))
    elif before[0] not in VERBS:
        found = iter(())
    elif word.startswith("-"):
        found = iter(_FLAGS)
    else:
        verb = before[0]
        composed = compose(verb, dict(each.split("=", 1) for each in before if "=" in each))
        key, equals, _ = word.partition("=")
        found = _values(verb, composed, key) if equals else _names(verb, composed, word)
    return sorted({each for each in found if each.startswith(word)})


def _names(verb: str, composed: Composed, word: str) -> Iterator[str]:
    for group in composed.groups:
        if choices_of(group, verb):
            yield f"{group.name}="
    for name in composed.keys:
        rest = name[len(word) :]
        if name.startswith(word) and composed.keys[name].value and composed.comment(name):
            yield f"{word}{rest.partition('.')[0]}." if "." in rest else f"{name}="


def _values(verb: str, composed: Composed, key: str) -> Iterator[str]:
    for group in composed.groups:
        if group.name == key:
            yield from (f"{key}={choice}" for choice in choices_of(group, verb))
    if key in composed.keys:
        rule, value = RULES.get(key), composed.keys[key].value
        possible = () if rule is None else rule.choices or ()
        if value in ("true", "false"):
            possible = ("true", "false")
        elif not possible and value != "null" and not any(sign in value for sign in '$?{[" '):
            possible = (value,)
        yield from (f"{key}={each}" for each in possible)


if __name__ == "__main__":
    try:
        run(sys.argv[1:])
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
