"""Read the lab file of an invocation, and warn about keys that change nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from labrun.runner.cli.terminal import say

if TYPE_CHECKING:
    from labrun.inventory.model import Lab
    from labrun.runner.cli.invocation import Invocation

__all__ = ["lab_path", "load", "say_notices"]


def lab_path(given: str | None) -> str:
    """Return the path from ``--lab``, else the nearest lab.yaml, here or in a parent directory."""
    if given is not None:
        return given
    from labrun.inventory.file.source import find_lab_file

    return str(find_lab_file(Path.cwd()))


def load(invocation: Invocation, *, quiet: bool = False) -> Lab:
    """Return the lab. Unless ``quiet``, warn on stderr about each key that has no effect.

    Raises LabFileError with every problem.
    """
    from labrun.inventory.file.lab_cache import remembered_lab

    lab = remembered_lab(lab_path(invocation.lab), stdin=sys.stdin, allow_outside=invocation.allow_outside)
    if not quiet:
        say_notices(lab)
    return lab


def say_notices(lab: Lab, driver: str = "") -> None:
    """Name on stderr the keys that have no effect, or those that have none with this driver."""
    for notice in lab.notices:
        if notice.driver == driver:
            say(f"{lab.source}:{notice.line}: {notice}")
