"""Read the lab file of an invocation, and warn about keys that change nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from labrun.runner.cli.terminal import say

if TYPE_CHECKING:
    from labrun.inventory.model import Lab
    from labrun.runner.cli.invocation import Invocation

__all__ = ["lab_path", "load"]


def lab_path(given: str | None) -> str:
    """Return the path from ``--lab``, else the nearest lab.yaml, here or in a parent directory."""
    if given is not None:
        return given
    from labrun.inventory.file.source import find_lab_file

    return str(find_lab_file(Path.cwd()))


def load(invocation: Invocation, *, safely: bool = True) -> Lab:
    """Return the lab. Warn once on stderr about each key that is not acted on, or has no effect.

    ``safely`` refuses a file in which ignoring such a key would be dangerous (a firewall that would be
    missing). Raises LabFileError with every problem.
    """
    from labrun.inventory.file.lab_cache import remembered_lab

    lab = remembered_lab(lab_path(invocation.lab), stdin=sys.stdin, allow_outside=invocation.allow_outside)
    for notice in lab.notices:
        if not notice.unsafe:
            say(f"{lab.source}:{notice.line}: {notice}")
    if safely:
        from labrun.inventory.file.unsupported_keys import refuse_unsafe

        refuse_unsafe(lab)
    return lab
