"""The state of a lab's timer, for people and for the JSON document."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labrun.moments import stamp
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.timer.systemd import Systemd
from labrun.runner.timer.units import unit_name

if TYPE_CHECKING:
    from labrun.json_values import JsonObject

__all__ = ["TimerStatus", "schedule_row", "timer_status", "unit_row"]


@dataclass(frozen=True, slots=True)
class TimerStatus:
    """A schedule's state; ``last`` and ``next`` in seconds since the epoch, None for never.

    ``last_exit_code`` and ``last_result`` are None if systemd knows of no finished run.
    """

    unit: str
    user: bool
    installed: bool
    enabled: bool
    active: bool
    running: bool
    last: float | None = None
    next: float | None = None
    last_exit_code: int | None = None
    last_result: str | None = None

    def as_json(self) -> JsonObject:
        """Return the state for the document; times as in run IDs."""
        return {
            "unit": self.unit,
            "manager": "user" if self.user else "system",
            "installed": self.installed,
            "enabled": self.enabled,
            "active": self.active,
            "running": self.running,
            "last": _moment(self.last),
            "next": _moment(self.next),
            "last_exit_code": self.last_exit_code,
            "last_result": self.last_result,
        }


def timer_status(systemd: Systemd, lab: str) -> TimerStatus:
    """Return the state of a lab's schedule. Raises LabrunError."""
    name = unit_name(lab)
    timer = systemd.show(f"{name}.timer", "LoadState", "ActiveState", "UnitFileState")
    service = systemd.show(
        f"{name}.service",
        "Result",
        "ExecMainStatus",
        "ActiveState",
        "ExecMainStartTimestamp",
        "ExecMainExitTimestamp",
    )
    ran = bool(service["ExecMainExitTimestamp"])
    times = systemd.timer(f"{name}.timer")
    return TimerStatus(
        unit=f"{name}.timer",
        user=systemd.user,
        installed=timer["LoadState"] == "loaded",
        enabled=timer["UnitFileState"] == "enabled",
        active=timer["ActiveState"] == "active",
        running=service["ActiveState"] == "activating",
        # The timer does not know of runs it did not start, the service not of runs before the last boot.
        last=_seconds(service["ExecMainStartTimestamp"]) or times.last,
        next=times.next,
        last_exit_code=int(service["ExecMainStatus"]) if ran else None,
        last_result=service["Result"] if ran else None,
    )


def _seconds(text: str) -> float | None:
    """Parse a time that systemd writes as ``Thu 2026-11-26 00:15:23 UTC``. Return None for any other text."""
    try:
        return float(calendar.timegm(time.strptime(text, "%a %Y-%m-%d %H:%M:%S UTC")))
    except ValueError:
        return None


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else stamp(seconds)


def schedule_row(timer: TimerStatus, words: Callable[[float], str] = stamp) -> Outcome:
    """Return the row for a schedule; ``words`` writes its times. It is never an error."""

    def moment(seconds: float | None) -> str:
        return "never" if seconds is None else words(seconds)

    if not timer.installed:
        why = "no schedule is installed: `labrun schedule install`"
        return unit_row(timer.unit, Status.SKIPPED, "absent", why)
    ended = "" if timer.last_exit_code is None else f" (exit code {timer.last_exit_code})"
    following = "running now" if timer.running else f"next {moment(timer.next)}"
    actual = f"last {moment(timer.last)}{ended}, {following}"
    if not (timer.active and timer.enabled):
        why = "the timer is off: `labrun schedule install` starts it"
        return unit_row(timer.unit, Status.WARNING, actual, why)
    if timer.last_result not in (None, "success"):
        manager = "--user " if timer.user else ""
        service = timer.unit.removesuffix(".timer")
        why = f"the last run failed: journalctl {manager}-u {service}"
        return unit_row(timer.unit, Status.WARNING, actual, why)
    return unit_row(timer.unit, Status.OK, actual)


def unit_row(unit: str, status: Status, actual: str, why: str | None = None) -> Outcome:
    """Return a row about one unit."""
    return Outcome(HYPERVISOR, "schedule", unit, status, actual=actual, why=why)
