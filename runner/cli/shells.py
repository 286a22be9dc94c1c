"""The shell code that completes labrun's command line, where click's own falls short.

click's fish code cuts each completion at its first comma: descriptions, and ``--hosts a,b``. Its bash code
sees the words as bash splits them, at each colon of ``HOST:NIC`` and ``A:B``. Its zsh code replaces all of
``--option=value`` by the value.
"""

from __future__ import annotations

import os
from importlib.resources import files

from click.shell_completion import (
    BashComplete,
    FishComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

__all__ = ["BashShell", "FishShell", "ZshShell", "use_own_shells"]


def _code(shell: str) -> str:
    """Return ``templates/completion/SHELL``, with click's placeholders in it."""
    return (files("labrun.templates") / "completion" / shell).read_text(encoding="utf-8")


class BashShell(BashComplete):
    """Completion for bash, from the command line up to the cursor, as it was typed."""

    source_template = _code("bash")

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the complete words after the command's name, and the one that is being typed."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        if not words or line[-1:].isspace():
            return words, ""
        return words[:-1], words[-1]


class FishShell(FishComplete):
    """Completion for fish."""

    source_template = _code("fish")


class ZshShell(ZshComplete):
    """Completion for zsh."""

    source_template = _code("zsh")


def use_own_shells() -> None:
    """Make click use these classes."""
    add_completion_class(BashShell)
    add_completion_class(FishShell)
    add_completion_class(ZshShell)
