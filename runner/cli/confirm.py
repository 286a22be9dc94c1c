"""Asking before something is lost."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from labrun.errors import LabrunError, UsageError
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import paused
from labrun.runner.cli.terminal import say

__all__ = ["confirm"]


def confirm(invocation: Invocation, question: str, losses: Sequence[str] = ()) -> None:
    """Return when the user agrees, at once with ``-y``; ``losses`` are listed above the question.

    Raises UsageError where nobody can be asked, LabrunError on a no.
    """
    if invocation.yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to ask on", hint="-y answers yes")
    with paused():
        for loss in losses:
            say(f"  {loss}")
        # stdout may be a file that waits for the results.
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        answer = sys.stdin.readline().strip().lower()
    if answer not in ("y", "yes"):
        raise LabrunError("not confirmed, nothing was done")
