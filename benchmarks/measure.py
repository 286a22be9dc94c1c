"""Time contenders side by side: wall seconds, CPU seconds of the client's processes, and their memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

__all__ = ["Case", "Contender", "Measured", "Result", "Sample", "compare", "do_nothing", "tree_of"]

_SECONDS = 1800
_LOOK = 0.02  # minimum seconds between two samples of the memory of a process tree
_SHARE = 4  # the pause after a sample, as a multiple of its duration: hundreds of processes take a while
_KIB = 1024
T = TypeVar("T")


def do_nothing() -> None:
    """Do nothing, for cases without preparation."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work: a command that must exit with status 0.

    ``before`` and ``after`` restore the initial state around every run and are not timed.
    """

    command: Sequence[str]
    before: Callable[[], None] = do_nothing
    after: Callable[[], None] = do_nothing


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison of ``ours`` with ``other``, which is the floor unless ``goal`` says otherwise.

    ``factor`` is the limit for ours as a multiple of the other; ``seconds`` and ``mebibytes`` are absolute
    limits. None = no goal. ``setup`` runs once at the start, ``pause`` (seconds) before every run. ``warm``
    requests the untimed run. ``guests`` returns the CPU seconds that the guests have used so far, since
    they work for both contenders; ``cpu_factor`` limits the sum of guests and command.
    """

    name: str
    ours: Contender
    other: Contender | None = None
    against: str = ""
    factor: float | None = None
    seconds: float | None = None
    mebibytes: float | None = None
    pause: float = 0.0
    setup: Callable[[], None] = do_nothing
    warm: bool = True
    guests: Callable[[], float] | None = None
    cpu_factor: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: wall and CPU seconds, the latter of the command with all its children, and of the guests."""

    wall: float
    cpu: float
    guests: float = 0.0

    @property
    def all_cpu(self) -> float:
        """Return the CPU seconds of both ends."""
        return self.cpu + self.guests


@dataclass(slots=True)
class Measured:
    """All runs of one contender; ``mebibytes`` comes from a separate run, since sampling costs time."""

    samples: list[Sample] = field(default_factory=list)
    mebibytes: float | None = None

    @property
    def walls(self) -> list[float]:
        """Return the wall seconds of every run."""
        return [sample.wall for sample in self.samples]

    @property
    def wall(self) -> float:
        """Return the median of the wall seconds."""
        return statistics.median(self.walls)

    @property
    def cpu(self) -> float:
        """Return the median of the CPU seconds."""
        return statistics.median(sample.cpu for sample in self.samples)

    @property
    def guests(self) -> float:
        """Return the median of the guests' CPU seconds."""
        return statistics.median(sample.guests for sample in self.samples)


@dataclass(slots=True)
class Result:
    """One case with its figures; ``load`` is the machine's 1-minute load average before it."""

    case: Case
    load: float
    ours: Measured = field(default_factory=Measured)
    other: Measured = field(default_factory=Measured)

    @property
    def ratio(self) -> float | None:
        """Return the median ratio of ours to the other's wall time over the rounds; None without another."""
        pairs = list(zip(self.ours.walls, self.other.walls, strict=False))
        return statistics.median(one / two for one, two in pairs) if pairs else None

    @property
    def cpu_ratio(self) -> float | None:
        """Return the same ratio for the CPU time of both ends."""
        pairs = list(zip(self.ours.samples, self.other.samples, strict=False))
        return statistics.median(one.all_cpu / two.all_cpu for one, two in pairs) if pairs else None


def compare(case: Case, repeat: int, tell: Callable[[str], None]) -> Result:
    """Run both contenders ``repeat`` times, taking turns, with the first one alternating every round.

    An untimed run before that fills caches and measures the memory. Raises RuntimeError if a command fails.
    """
    load = os.getloadavg()[0]
    case.setup()
    result = Result(case, load)
    sides = [(case.ours, result.ours, "labrun")]
    if case.other is not None:
        sides.append((case.other, result.other, case.against or "other"))
    for contender, measured, _ in sides if case.warm else ():
        measured.mebibytes = _once(contender, case.pause, _watched)
    for turn in range(repeat):
        for contender, measured, name in sides if turn % 2 == 0 else sides[::-1]:
            sample = _once(contender, case.pause, partial(_timed, guests=case.guests))
            measured.samples.append(sample)
            guests = f" and {sample.guests:.2f} s in the guests" if case.guests is not None else ""
            tell(f"{case.name}: {name}: {sample.wall:.2f} s, {sample.cpu:.2f} s of CPU{guests}")
    return result


def _once(contender: Contender, pause: float, how: Callable[[Sequence[str]], T]) -> T:
    contender.before()
    time.sleep(pause)
    try:
        found = how(contender.command)
    except BaseException:
        # Report the original failure, not a failed clean-up after it.
        with suppress(RuntimeError):
            contender.after()
        raise
    contender.after()
    return found


def _timed(command: Sequence[str], guests: Callable[[], float] | None = None) -> Sample:
    used = guests() if guests is not None else 0.0
    with tempfile.TemporaryFile() as out:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        _check(command, process.returncode, out)
    return Sample(wall, usage.ru_utime + usage.ru_stime, guests() - used if guests is not None else 0.0)


def _watched(command: Sequence[str]) -> float:
    """Return the process tree's peak memory in MiB, as proportional set sizes: shared pages count once."""
    peak = 0
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            until = time.monotonic() + _SECONDS
            while process.poll() is None and time.monotonic() < until:
                began = time.monotonic()
                peak = max(peak, _pss(tree_of(process.pid)))
                time.sleep(max(_LOOK, _SHARE * (time.monotonic() - began)))
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
        _check(command, process.returncode, out)
    return peak / _KIB


def tree_of(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text(encoding="ascii").split())
            except OSError:
                continue  # the thread has ended since the listing
    return found


def _pss(pids: Iterable[int]) -> int:
    """Return the KiB that these processes hold; a child still running its parent's image counts once."""
    spaces: dict[str, int] = {}
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        for line in rollup.splitlines():
            if line.startswith("Pss:"):
                spaces[rollup] = int(line.split()[1])
    return sum(spaces.values())


def _check(command: Sequence[str], status: int, out: IO[bytes]) -> None:
    if status != 0:
        out.seek(0)
        said = out.read().decode(errors="replace")[-2000:]
        raise RuntimeError(f"exit status {status} of {' '.join(command)}\n{said}")
