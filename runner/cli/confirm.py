"""Ask before a destructive action."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from labrun.errors import LabrunError, UsageError
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import paused
from labrun.runner.cli.terminal import say

__all__ = ["confirm"]


def confirm(invocation: Invocation, question: str, losses: Sequence[str] = ()) -> None:
    """Return once the user agrees, at once with ``-y``; ``losses`` are listed above the question.

    Raises UsageError if there is no terminal to ask on, LabrunError if the answer is no.
    """
    if invocation.yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"{question} This needs confirmation, and there is no terminal", hint="-y confirms it"
        )
    with paused():
        for loss in losses:
            say(f"  {loss}")
        # stdout may be redirected to a file for the results.
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        answer = sys.stdin.readline().strip().lower()
    if answer not in ("y", "yes"):
        raise LabrunError("not confirmed, nothing was done")
