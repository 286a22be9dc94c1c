"""Where a lab's last drift run is remembered: beside the history, whatever hypervisor the lab is on."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labrun.errors import LabrunError
from labrun.state import state_base, write_private
from labrun.state_folders import check_folder, private_folder

if TYPE_CHECKING:
    from labrun.runner.cli.invocation import Invocation

__all__ = ["DriftMemory", "drift_memory", "write_memory"]


@dataclass(frozen=True, slots=True)
class DriftMemory:
    """The two files of one lab: ``last`` for the last run, ``told`` for who knows what."""

    last: Path
    told: Path


def drift_memory(invocation: Invocation, lab: str) -> DriftMemory:
    """Return the files' paths; a run that cannot reach its hypervisor is remembered there too.

    Raises LabrunError where others could have put something there.
    """
    folder = (invocation.state_dir or state_base()) / "drift"
    check_folder(folder)
    return DriftMemory(folder / f"{lab}.json", folder / f"{lab}.told.json")


def write_memory(path: Path, text: str) -> None:
    """Write one of the files; that this is not possible ends no command."""
    with contextlib.suppress(OSError, LabrunError):
        private_folder(path.parent)
        write_private(path, text)
