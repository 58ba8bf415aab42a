"""Completion in bash, zsh and fish, with what click's own lacks: `--set KEY=VALUE`, values with a colon or a comma.

Import this only where a shell asks for completions.
"""

from __future__ import annotations

import os

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

BASH = """
%(complete_func)s() {
    local IFS=$'\\n' response type value
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORD="$2" %(complete_var)s=bash_complete $1)
    for completion in $response; do
        type="${completion%%%%,*}"
        value="${completion#*,}"
        if [[ $type == 'dir' ]]; then
            COMPREPLY=()
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            COMPREPLY=()
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("$value")
            if [[ $value == *[=:] ]]; then compopt -o nospace; fi
        fi
    done
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2> /dev/null || complete -F %(complete_func)s %(prog_name)s
"""
OPEN = """local -a open_ones
        open_ones=(${(M)completions:#*[=:]})
        completions=(${completions:#*[=:]})
        compadd -U -S '' -V unsorted -a open_ones
        compadd -U -V unsorted -a completions"""
BLANKS = " \t"


class Bash(BashComplete):
    """bash divides words at = and :, and replaces only the last part; click takes and gives whole words."""

    source_template = BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the one that the cursor is in."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        incomplete = "" if not words or line[-1:] in BLANKS else words.pop()
        return words[1:], incomplete

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return the completions of the part that bash replaces."""
        word = os.environ.get("COMP_WORD", incomplete)
        kept = len(incomplete) - len(word) if incomplete.endswith(word) else 0
        items = super().get_completions(args, incomplete)
        head = incomplete[:kept]
        return [CompletionItem(item.value.removeprefix(head), item.type, item.help) for item in items]


class Zsh(ZshComplete):
    """zsh, without a blank behind `KEY=`."""

    source_template = ZshComplete.source_template.replace("compadd -U -V unsorted -a completions", OPEN)

    def format_completion(self, item: CompletionItem) -> str:
        """Return an item as the script of zsh reads it: one that goes on has no help, or a blank would follow."""
        return super().format_completion(CompletionItem(item.value, item.type) if is_open(item) else item)


def is_open(item: CompletionItem) -> bool:
    """Return whether a word goes on behind an item."""
    return bool(item.value.endswith(("=", ":")))


class Fish(FishComplete):
    """fish, with commas in values."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split -m 1 ","')


def register() -> None:
    """Let click use these for the three shells."""
    for kind in (Bash, Zsh, Fish):
        add_completion_class(kind)
