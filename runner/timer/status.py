"""The state of a lab's timer, for people and for the JSON document."""

from __future__ import annotations

import calendar
import time
from typing import Any

from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.timer.systemd import Systemd
from labrun.runner.timer.units import unit_name

__all__ = ["schedule_row", "timer_status", "unit_row"]


def timer_status(systemd: Systemd, lab: str) -> dict[str, Any]:
    """Return a schedule's state for the document; times as in run IDs, None for never."""
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
    moments = systemd.timer(f"{name}.timer")
    # The timer does not know of runs it did not start, the service not of runs before the last boot.
    began = _seconds(service["ExecMainStartTimestamp"]) or moments["last"]
    return {
        "unit": f"{name}.timer",
        "manager": "user" if systemd.user else "system",
        "installed": timer["LoadState"] == "loaded",
        "enabled": timer["UnitFileState"] == "enabled",
        "active": timer["ActiveState"] == "active",
        "running": service["ActiveState"] == "activating",
        "last": _moment(began),
        "next": _moment(moments["next"]),
        "last_exit_code": int(service["ExecMainStatus"]) if ran else None,
        "last_result": service["Result"] if ran else None,
    }


def _seconds(text: str) -> float | None:
    """Parse a time that systemd writes as ``Thu 2026-11-26 00:15:23 UTC``. Return None for any other text."""
    try:
        return float(calendar.timegm(time.strptime(text, "%a %Y-%m-%d %H:%M:%S UTC")))
    except ValueError:
        return None


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def schedule_row(found: dict[str, Any]) -> Outcome:
    """Return the row for the result of :func:`timer_status`. It is never an error."""
    unit: str = found["unit"]
    if not found["installed"]:
        why = "no schedule is installed: `labrun schedule install`"
        return unit_row(unit, Status.SKIPPED, "absent", why)
    code = found["last_exit_code"]
    ended = "" if code is None else f" (exit code {code})"
    following = "running now" if found["running"] else f"next {found['next'] or 'never'}"
    actual = f"last {found['last'] or 'never'}{ended}, {following}"
    if not (found["active"] and found["enabled"]):
        return unit_row(unit, Status.WARNING, actual, "the timer is off: `labrun schedule install` starts it")
    if found["last_result"] not in (None, "success"):
        manager = "--user " if found["manager"] == "user" else ""
        service = unit.removesuffix(".timer")
        return unit_row(
            unit, Status.WARNING, actual, f"the last run failed: journalctl {manager}-u {service}"
        )
    return unit_row(unit, Status.OK, actual)


def unit_row(unit: str, status: Status, actual: str, why: str | None = None) -> Outcome:
    """Return a row about one unit."""
    return Outcome(HYPERVISOR, "schedule", unit, status, actual=actual, why=why)
