"""Read the lab file of an invocation, and warn about keys that change nothing."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from labrun.errors import UsageError
from labrun.runner.cli.terminal import say

if TYPE_CHECKING:
    from labrun.inventory.model import Lab
    from labrun.runner.cli.invocation import Invocation

__all__ = ["lab_path", "load", "path_of", "say_notices"]


def lab_path(given: str | None) -> str:
    """Return the path from ``--lab``, else the nearest lab.yaml, here or in a parent directory.

    Of a folder, its lab.yaml. One that was found is named from here, as a person would.
    """
    from labrun.inventory.file.source import FILE_NAME, find_lab_file

    if given is not None:
        return str(Path(given) / FILE_NAME) if given != "-" and Path(given).is_dir() else given
    return os.path.relpath(find_lab_file(Path.cwd()))


def path_of(invocation: Invocation) -> str:
    """Return the lab file's path. Say on stderr when a variable chose it over the one in this folder."""
    path = lab_path(invocation.lab)
    if invocation.lab_variable:
        with contextlib.suppress(UsageError, OSError):
            nearest = lab_path(None)
            if path == "-" or Path(nearest).resolve() != Path(path).resolve():
                _say_variable(path, nearest)
    return path


@cache  # one command reads the file several times, a loop for ever
def _say_variable(path: str, nearest: str) -> None:
    say(f"using LABRUN_LAB={path}, not {nearest}")


def load(invocation: Invocation, *, quiet: bool = False) -> Lab:
    """Return the lab. Unless ``quiet``, warn on stderr about each key that has no effect.

    Raises LabFileError with every problem.
    """
    from labrun.inventory.file.lab_cache import remembered_lab

    lab = remembered_lab(path_of(invocation), stdin=sys.stdin, allow_outside=invocation.allow_outside)
    if not quiet:
        say_notices(lab)
    return lab


def say_notices(lab: Lab, driver: str = "") -> None:
    """Name on stderr the keys that have no effect, or those that have none with this driver."""
    for notice in lab.notices:
        if notice.driver == driver:
            say(f"{lab.source}:{notice.line}: {notice}")
