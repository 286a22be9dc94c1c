"""How far an image build is: which step of how many, and how much of it, from what apt and dpkg print."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from labrun.progress import Amount

__all__ = ["DISK_STEPS", "TREE_STEPS", "BuildProgress", "BuildStep", "DiskSteps", "TreeSteps"]

TREE_STEPS = (
    "fetching package lists",
    "fetching base packages",
    "installing base packages",
    "fetching packages",
    "installing packages",
)
DISK_STEPS = ("root file system", "boot loader", "qcow2")

_GET = re.compile(r"Get:\d+ .*\[(?P<size>[\d.,]+) (?P<unit>[kMG]?)B\]$")
_NEED = re.compile(r"Need to get (?:[\d.,]+ [kMG]?B/)?(?P<size>[\d.,]+) (?P<unit>[kMG]?)B of archives\.")
_NEW = re.compile(r"\d+ upgraded, (?P<new>\d+) newly installed")
_BYTES = {"": 1e-6, "k": 1e-3, "M": 1.0, "G": 1e3}
# Each package is unpacked, then set up.
_PACKAGE_LINES = ("Unpacking ", "Setting up ")


@dataclass(frozen=True, slots=True)
class BuildStep:
    """Step ``number`` of ``of``, 0 for what is no step (waiting); ``amount`` is how much of it is done."""

    number: int = 0
    of: int = 0
    amount: Amount | None = None

    def __str__(self) -> str:
        """Return it for people: ``step 2 of 8``."""
        return f"step {self.number} of {self.of}" if self.number else ""


BuildProgress = Callable[[str, BuildStep], None]
"""Receives the current step in words, and how far it is."""


class TreeSteps:
    """The steps of a tree, as mmdebstrap goes through them: apt fetches and dpkg installs, twice."""

    def __init__(self, progress: BuildProgress, of: int) -> None:
        self._progress, self._of = progress, of
        self._step = 0
        self._megabytes, self._needed = 0.0, 0.0
        self._handled, self._packages = 0, 0

    def begin(self) -> None:
        """Report the first step."""
        self._show(None)

    def follow(self, line: str) -> None:
        """Take one line of output."""
        if found := _NEW.match(line):
            self._packages, self._handled = int(found["new"]), 0
        elif found := _NEED.match(line):
            self._enter(1 if self._step < 1 else 3)
            self._megabytes, self._needed = 0.0, _megabytes(found)
            self._show(Amount(0.0, self._needed))
        elif found := _GET.match(line):
            self._megabytes += _megabytes(found)
            self._show(Amount(self._megabytes, self._needed or None))
        elif line.startswith(_PACKAGE_LINES) and self._step:
            self._enter(2 if self._step < 3 else 4)
            self._handled = min(self._handled + 1, 2 * self._packages)
            self._show(Amount(self._handled // 2, self._packages or None, "packages"))

    def _enter(self, step: int) -> None:
        self._step = max(self._step, step)

    def _show(self, amount: Amount | None) -> None:
        self._progress(TREE_STEPS[self._step], BuildStep(self._step + 1, self._of, amount))


class DiskSteps:
    """The steps of a disk, behind ``before`` others; called with the words of each, and the share done."""

    def __init__(self, progress: BuildProgress, before: int) -> None:
        self._progress, self._before = progress, before

    def __call__(self, words: str, _share: float) -> None:
        """Report a step; what share of the disk is behind it says nothing of the step itself."""
        number = self._before + DISK_STEPS.index(words) + 1 if words in DISK_STEPS else 0
        self._progress(words, BuildStep(number, self._before + len(DISK_STEPS)))


def _megabytes(found: re.Match[str]) -> float:
    return float(found["size"].replace(",", "")) * _BYTES[found["unit"]]
