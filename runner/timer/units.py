"""A lab's schedule as text: its systemd units, or a crontab line, which has neither seconds nor jitter."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import UsageError
from labrun.rendering import render_text

__all__ = ["MARK", "Schedule", "cron_line", "quoted", "render_units", "unit_name"]

MARK = "# Written by labrun schedule install"
"""The first words of each unit that labrun writes. Other units are left alone."""
_PLAIN = re.compile(r"[A-Za-z0-9@+=:,./_-]+")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_SHARED_TMP = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - only compared with


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule with exactly one of ``every`` (seconds) and ``calendar``; ``jitter`` in seconds.

    ``command`` is the full command line, ``python_path`` is needed to find labrun if it is not installed.
    ``writable`` are directories that the run writes to, ``readable`` paths that it only reads.
    ``needs_hypervisor`` tells whether it contacts libvirt.
    """

    lab: str
    lab_file: Path
    command: Sequence[str]
    every: float | None
    calendar: str | None
    jitter: float
    user: bool
    writable: Sequence[Path] = ()
    readable: Sequence[Path] = ()
    python_path: Path | None = None
    needs_hypervisor: bool = True


def unit_name(lab: str) -> str:
    """Return the name of a lab's units without the suffix."""
    return f"labrun-drift-{lab}"


def render_units(schedule: Schedule) -> dict[str, str]:
    """Return the service and the timer, by file name."""
    name = unit_name(schedule.lab)
    paths = [*schedule.readable, *schedule.writable, schedule.lab_file]
    values = {
        "mark": f"{MARK} for {_one_line(schedule.lab_file)}",
        "lab": schedule.lab,
        "command": " ".join(quoted(word, command=True) for word in schedule.command),
        "python_path": quoted(f"PYTHONPATH={schedule.python_path}") if schedule.python_path else "",
        "writable": [quoted(f"-{path}") for path in dict.fromkeys(schedule.writable)],
        "private_tmp": not any(path.is_relative_to(tmp) for path in paths for tmp in _SHARED_TMP),
        "user": schedule.user,
        "needs_hypervisor": schedule.needs_hypervisor,
        "calendar": schedule.calendar,
        "every": f"{schedule.every:g}s" if schedule.every is not None else "",
        "jitter": f"{schedule.jitter:g}s",
    }
    return {
        f"{name}.{kind}": render_text(f"systemd/drift.{kind}.j2", **values) for kind in ("service", "timer")
    }


def _one_line(path: Path) -> str:
    """Return a path for a comment, on one line."""
    return str(path).replace("\n", "\\n")


def quoted(word: str, *, command: bool = False) -> str:
    """Return a word quoted for a unit file. In a ``command`` systemd also expands variables.

    ``%`` begins a specifier everywhere, ``$`` a variable in commands.
    """
    text = word.replace("%", "%%")
    if command:
        text = text.replace("$", "$$")
    if _PLAIN.fullmatch(word):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def cron_line(command: Sequence[str], every: float) -> str:
    """Return the line of a crontab. Raises UsageError for an interval that cron cannot express."""
    # cron takes a % as the end of the command, quoted or not.
    words = shlex.join(command).replace("%", "\\%")
    if "\n" in words:
        raise UsageError("a crontab line cannot contain a newline")
    return f"{_fields(int(every))} {words}\n"


def _fields(every: int) -> str:
    if every == _DAY:
        return "0 0 * * *"
    if every % _HOUR == 0 and _DAY % every == 0:
        return "0 * * * *" if every == _HOUR else f"0 */{every // _HOUR} * * *"
    if every % _MINUTE == 0 and _HOUR % every == 0:
        return "* * * * *" if every == _MINUTE else f"*/{every // _MINUTE} * * * *"
    raise UsageError(
        f"cron cannot express every {every} s",
        hint="whole minutes that divide an hour, or whole hours that divide a day, such as 15m or 6h",
    )
