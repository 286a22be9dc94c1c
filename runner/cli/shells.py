"""The shell code that completes labrun's command line, where click's own falls short.

click's fish code cuts each completion at its first comma: descriptions, and ``--hosts a,b``. Its bash code
sees the words as bash splits them, at each colon of ``HOST:NIC`` and ``A:B``.
"""

from __future__ import annotations

import os
from typing import Final

from click.shell_completion import BashComplete, FishComplete, add_completion_class, split_arg_string

__all__ = ["BashShell", "FishShell", "use_own_shells"]

_BASH: Final = r"""%(complete_func)s() {
    local IFS=$'\n' completion value cut= line=${COMP_LINE:0:COMP_POINT}
    local word=${line##*[[:space:]]}
    word=${word#--*=}
    # bash replaces only what follows the last colon.
    if [[ $COMP_WORDBREAKS == *:* && $word == *:* ]]; then cut=${word%%"${word##*:}"}; fi
    COMPREPLY=()
    for completion in $(env COMP_WORDS="$line" %(complete_var)s=bash_complete "$1"); do
        value=${completion#*,}
        case ${completion%%%%,*} in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$cut"}") ;;
        esac
    done
    case "${COMPREPLY[*]}" in *[,:@]) compopt -o nospace ;; esac
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_FISH: Final = r"""function %(complete_func)s
    set -l prefix (string match --regex -- '^--[^=]+=' (commandline -ct))
    set -l typed COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -ct)
    for completion in (env %(complete_var)s=fish_complete $typed %(prog_name)s)
        set -l parts (string split --max 1 "," -- $completion)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                printf '%%s\n' "$prefix$parts[2]"
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class BashShell(BashComplete):
    """Completion for bash, from the command line up to the cursor, as it was typed."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the complete words after the command's name, and the one that is being typed."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        if not words or line[-1:].isspace():
            return words, ""
        return words[:-1], words[-1]


class FishShell(FishComplete):
    """Completion for fish."""

    source_template = _FISH


def use_own_shells() -> None:
    """Make click use these classes."""
    add_completion_class(BashShell)
    add_completion_class(FishShell)
